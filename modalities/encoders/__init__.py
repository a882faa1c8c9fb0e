"""Encoders that several modalities share: CLIP and the sentence encoder."""
