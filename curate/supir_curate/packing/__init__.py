"""Kept pictures into shards: whole, or cut into crops, without loss where it can be."""
