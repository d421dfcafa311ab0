//! Which arithmetic a library follows on this machine.
