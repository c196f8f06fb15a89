//! Topology: wires sources to tasks to sinks from a configuration; supervision, backpressure, shutdown. No algorithm
//! lives here.
