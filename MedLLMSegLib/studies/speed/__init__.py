"""How fast the product is on this machine, and how much memory it takes, beside MONAI and
SimpleITK.
"""
