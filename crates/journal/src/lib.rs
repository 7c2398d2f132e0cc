//! The durable log: segments of checksummed frames with sequence numbers; knows nothing of markets.
