"""Any picture file to one upright sRGB picture: format, header guard, decode, profile, orientation, depth, alpha."""
