"""Words of a clip, heard by Whisper."""
