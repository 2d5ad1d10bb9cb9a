//! What the soak has found once, each in its smallest form.
