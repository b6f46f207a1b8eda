"""The catalogue of planted bugs: the reference device with one mistake at a time.

Each module has the bugs of one part of the device; each bug is a class in the place of one of the model's,
and says which cases see it.
"""
