//! Queries and what becomes of them.
