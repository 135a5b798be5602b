//! The MySQL wire codec and small clients; links no engine.
