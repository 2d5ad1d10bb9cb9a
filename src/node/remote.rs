//! A machine reached over a byte stream with the agent at its other end.
