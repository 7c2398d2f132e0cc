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
    CopyOptions, DynObjectStore, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result,
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
        if let Some(part) = &options.range
            && let Some(sums) = self.known.find(place)
            // One that cannot be is refused below.
            && let Ok(wanted) = part.as_range(sums.bytes())
            && let Some(whole) = sums.unseen(&wanted)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::collections::HashMap;

    use deltalake::kernel::Add;
    use object_store::GetRange;
    use object_store::memory::InMemory;

    use super::*;
    use crate::block_sums::{BLOCK_SUMS, Summing};

    const SIZE: u64 = 700_000;

    /// A store with a file, and what keeps its checksums known; a bit of the file may fall afterwards.
    async fn store(fallen: Option<usize>) -> (CheckedStore, Arc<BlockSums>, Vec<u8>) {
        let mut bytes: Vec<u8> = (0..SIZE).map(|at| (at * 31 / 7) as u8).collect();
        let mut summing = Summing::default();
        summing.update(&bytes);
        let tags = HashMap::from([(BLOCK_SUMS.to_owned(), Some(summing.finish()))]);
        let file = Add {
            size: SIZE as i64,
            tags: Some(tags),
            ..Add::default()
        };
        if let Some(at) = fallen {
            bytes[at] ^= 1;
        }
        let inner: Arc<DynObjectStore> = Arc::new(InMemory::new());
        let payload = PutPayload::from(bytes.clone());
        inner.put(&Path::from("file"), payload).await.unwrap();
        let known = KnownSums::default();
        let held = known.hold(Path::from("file"), "file", || file);
        (CheckedStore::new(inner, known), held.unwrap(), bytes)
    }

    async fn part(store: &CheckedStore, range: GetRange) -> Result<Bytes> {
        let options = GetOptions::default().with_range(Some(range));
        store
            .get_opts(&Path::from("file"), options)
            .await?
            .bytes()
            .await
    }

    #[tokio::test]
    async fn what_is_sound_is_given_as_it_is() {
        let (store, _held, bytes) = store(None).await;
        let of = |range: &Range<u64>| &bytes[range.start as usize..range.end as usize];
        let ranges = [
            5..9,
            300_000..300_100,
            262_000..262_300,
            0..SIZE,
            699_999..SIZE,
            10..11,
        ];
        // The first time blocks are compared, the second time not.
        for few in [2, 6, 6] {
            let found = store.get_ranges(&Path::from("file"), &ranges[..few]).await;
            for (range, found) in ranges.iter().zip(found.unwrap()) {
                assert_eq!(found, of(range), "{range:?}");
            }
        }
        assert_eq!(
            part(&store, GetRange::Suffix(8)).await.unwrap(),
            of(&(SIZE - 8..SIZE))
        );
    }

    #[tokio::test]
    async fn a_part_of_a_damaged_block_is_never_given() {
        let place = Path::from("file");
        let (store, _held, bytes) = store(Some(600_000)).await;
        for range in [
            GetRange::Bounded(530_000..530_010),
            GetRange::Offset(524_288),
            GetRange::Suffix(8),
        ] {
            assert!(part(&store, range).await.is_err());
        }
        assert!(
            store
                .get_ranges(&place, &[0..9, 600_000..600_001])
                .await
                .is_err()
        );
        let sound = store
            .get_ranges(&place, &[0..9, 400_000..400_009])
            .await
            .unwrap();
        assert_eq!(sound[1], &bytes[400_000..400_009]);
    }
}
