//! Feed handlers: decoding is a pure function, the I/O loop stands beside it.
