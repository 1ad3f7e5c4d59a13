"""The GPU stack, one file a component, written in the build language.

These layers are **planned and have not been built by this project yet**: they state what each component needs, after
its own project's documentation, so that ``vep plan`` can show layers, keys and what is unresolved. Their checks,
too, are written and not yet run here.

Every layer is built in :data:`vep_dagger.layers.cuda.devel` and leaves one prefix. What a layer *exports* is where it
is; how the stack behaves at run time (``OMPI_MCA_…``, ``LD_PRELOAD``) belongs to the recipe, since a layer's exports
are part of the keys of all that needs it.
"""
