"""What every run leans on: events, stopping, errors, loaded models, queues of batches, the state folder."""
