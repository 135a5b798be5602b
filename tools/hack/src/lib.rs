//! Pins dependency features so that every command of the README builds the same dependency artifacts. Empty on purpose.
