"""Behaviours of AWS that stock moto lacks, one file each."""
