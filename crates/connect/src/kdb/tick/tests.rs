//! Requests and rows as clients send them.
