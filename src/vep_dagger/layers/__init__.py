"""The GPU stack, one file a component, written in the build language.

Each file says where its facts come from: the component's own build files and documentation.
``docs/vllm-ep.md`` has the layers with their pins and proofs.

Every layer is built in :data:`vep_dagger.layers.cuda.devel` and leaves one prefix. What a layer *exports* is where it
is; how the stack behaves at run time (``OMPI_MCA_…``, ``LD_PRELOAD``) belongs to the recipe, since a layer's exports
are part of the keys of all that needs it.
"""
