"""Builders: images onto engines, one file an engine, behind the protocol of :mod:`vep_dagger.builders.base`."""
