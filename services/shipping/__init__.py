"""Shipping: one parcel for each paid order."""
