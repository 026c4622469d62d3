"""Bytes into pixels: decoded once, upright, in sRGB."""
