"""The embedded model: found inside a wheel, served on loopback, gone with its parent."""
