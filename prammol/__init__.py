"""prammol: every atom of a nanocrystal from coherent diffraction."""

__version__ = "0.1.0"
