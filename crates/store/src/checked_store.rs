//! The object store that the history is read from, with [checksums](crate::block_sums) compared.
//!
//! Invariant: parts of a file that is known there are given only after the blocks that they are in were
//! compared. Whole files are given as they are: who reads those compares for himself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, DynObjectStore, GetOptions, GetRange, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result,
};

use crate::block_sums::{BlockSums, KnownSums};

/// The store.
#[derive(Debug)]
pub(crate) struct CheckedStore {
    inner: Arc<DynObjectStore>,
    known: KnownSums,
}

impl CheckedStore {
    pub(crate) fn new(inner: Arc<DynObjectStore>, known: KnownSums) -> Self {
        Self { inner, known }
    }

    /// Whole blocks, compared.
    async fn blocks(&self, place: &Path, sums: &BlockSums, whole: Range<u64>) -> Result<Bytes> {
        let bytes = self.inner.get_range(place, whole.clone()).await?;
        let checked = sums.check(whole.start, &bytes);
        checked.map_err(|damaged| object_store::Error::Generic {
            store: "history",
            source: Box::new(damaged),
        })?;
        Ok(bytes)
    }
}

impl fmt::Display for CheckedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Ranges as one where they touch.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for CheckedStore {
    async fn get_opts(&self, place: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(GetRange::Bounded(wanted)) = &options.range
            && let Some(sums) = self.known.find(place)
            && let Some(whole) = sums.unseen(wanted)
        {
            self.blocks(place, &sums, whole).await?;
        }
        self.inner.get_opts(place, options).await
    }

    async fn get_ranges(&self, place: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Some(sums) = self.known.find(place) else {
            return self.inner.get_ranges(place, ranges).await;
        };
        let unseen = joined(
            ranges
                .iter()
                .filter_map(|range| sums.unseen(range))
                .collect(),
        );
        let blocks = unseen
            .iter()
            .map(|whole| self.blocks(place, &sums, whole.clone()));
        let blocks = try_join_all(blocks).await?;
        let read = |wanted: &Range<u64>| {
            let within =
                |whole: &Range<u64>| whole.start <= wanted.start && wanted.end <= whole.end;
            let at = unseen.iter().position(within)?;
            let start = unseen.get(at)?.start;
            let offset = |byte: u64| usize::try_from(byte - start).ok();
            Some(
                blocks
                    .get(at)?
                    .slice(offset(wanted.start)?..offset(wanted.end)?),
            )
        };
        let read: Vec<Option<Bytes>> = ranges.iter().map(read).collect();
        let others = ranges.iter().zip(&read).filter(|(_, read)| read.is_none());
        let others: Vec<_> = others.map(|(range, _)| range.clone()).collect();
        let mut others = match others.is_empty() {
            true => Vec::new(),
            false => self.inner.get_ranges(place, &others).await?,
        }
        .into_iter();
        let read = read.into_iter().map(|read| read.or_else(|| others.next()));
        Ok(read.flatten().collect())
    }

    async fn put_opts(
        &self,
        place: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(place, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        place: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(place, options).await
    }

    fn delete_stream(
        &self,
        places: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(places)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
