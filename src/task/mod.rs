//! What is decided from the encoder's hidden states: one folder a task, with its scores, calibration, smoothing over
//! time and state changes. No sockets live here.
