"""How shipped numbers are derived from data: the fusion's weights and the learned composer."""
