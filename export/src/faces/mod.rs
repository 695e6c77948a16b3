//! Photos in, aligned faces out: what training and measuring work on.
