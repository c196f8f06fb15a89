//! What outlives the process: enrolled speakers in an embedded database file.
