//! What a batch takes on the heap.
//!
//! Invariant: capacities are counted, not rows: what is reserved and not used is memory too.

use super::{OrderBatch, Seqs};

impl OrderBatch {
    /// Gives back memory that is not used.
    pub fn shrink_to_fit(&mut self) {
        if let Seqs::List(seqs) = &mut self.seqs {
            seqs.shrink_to_fit();
        }
        self.time.shrink_to_fit();
        self.sym.shrink_to_fit();
        self.event_type.shrink_to_fit();
        self.trader.shrink_to_fit();
        self.side.shrink_to_fit();
        self.order_id.shrink_to_fit();
        self.price.shrink_to_fit();
        self.quantity.shrink_to_fit();
        if let Some(details) = &mut self.details {
            details.shrink_to_fit();
        }
    }

    /// Bytes on the heap, the dictionaries left out: other batches may share them.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let seqs = match &self.seqs {
            Seqs::Run(_) => 0,
            Seqs::List(seqs) => bytes(seqs),
        };
        seqs + bytes(&self.time)
            + bytes(&self.sym)
            + bytes(&self.event_type)
            + bytes(&self.trader)
            + bytes(&self.side)
            + self.order_id.heap_bytes()
            + bytes(&self.price)
            + bytes(&self.quantity)
            + self
                .details
                .as_ref()
                .map_or(0, |details| details.heap_bytes())
    }
}

fn bytes<T>(column: &Vec<T>) -> usize {
    column.capacity() * size_of::<T>()
}
