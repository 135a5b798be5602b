//! Starling's storage. It knows nothing of SQL, sockets or actors: passive state that its owner core drives.
