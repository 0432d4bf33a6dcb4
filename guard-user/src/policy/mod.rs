//! Policies: pure, without I/O beyond reading a file.
