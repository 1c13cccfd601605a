//! Reads a database, one page at a time, and trusts none of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::{
    BUCKET, ELEMENT, EachOfBucket, HEAD, HEADER, IS_BUCKET, MAGIC, NO_FREE_LIST, VERSION, fnv, kind,
};
use crate::error::{Error, Failure};
use crate::limits::{DEPTH_MAX, PAGE_BYTES_MAX};

/// Bytes that can be read anywhere: a file, a part of one, or memory.
pub trait Bytes {
    /// How many there are.
    fn length(&self) -> u64;

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When there are not so many, or the system refuses.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Bytes for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let part = start.checked_add(out.len()).and_then(|end| self.get(start..end));
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The first bytes of a file.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    length: u64,
}

impl FileBytes {
    /// The first `length` bytes of `file`.
    #[must_use]
    pub fn new(file: File, length: u64) -> Self {
        Self { file, length }
    }
}

impl Bytes for FileBytes {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(out, offset)
    }
}

/// An opened database.
#[derive(Debug)]
pub struct Database<S> {
    source: S,
    head: Head,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    page_size: u64,
    root: u64,
    free_list: u64,
    pages: u64,
    transaction: u64,
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number_at(bytes, at))
}

impl Head {
    /// None when there is no intact head at `offset`.
    fn read(source: &impl Bytes, offset: u64) -> Option<Self> {
        let mut page = [0; HEADER + HEAD + 8];
        source.read_at(offset, &mut page).ok()?;
        let body = &page[HEADER..];
        let intact = u32_at(body, 0) == MAGIC
            && u32_at(body, 4) == VERSION
            && fnv(&body[..HEAD]) == u64_at(body, HEAD);
        intact.then(|| Self {
            page_size: u64::from(u32_at(body, 8)),
            root: u64_at(body, 16),
            free_list: u64_at(body, 32),
            pages: u64_at(body, 40),
            transaction: u64_at(body, 48),
        })
    }

    /// The newer of the two heads. The second one stands on the second page, whose place is only
    /// known from a head: when the first one is damaged, every usual size is tried.
    fn find(source: &impl Bytes) -> Option<Self> {
        let first = Self::read(source, 0);
        let places: Vec<u64> = match first {
            Some(first) => vec![first.page_size],
            None => (9..=16).map(|power| 1 << power).collect(),
        };
        let second = places
            .into_iter()
            .find_map(|place| Self::read(source, place).filter(|found| found.page_size == place));
        first.into_iter().chain(second).max_by_key(|head| head.transaction)
    }

    fn check(self, length: u64) -> Result<Self, Error> {
        let bad = |problem: String| Err(Error::NotDatabase(problem));
        let Self { page_size, root, free_list, pages, .. } = self;
        if !page_size.is_power_of_two() || !(512..=1 << 20).contains(&page_size) {
            return bad(format!("page size {page_size}"));
        }
        let needed = pages.checked_mul(page_size);
        if needed.is_none_or(|needed| needed > length) {
            return bad(format!("{pages} pages of {page_size} bytes do not fit in {length} bytes"));
        }
        if !(2..pages).contains(&root) {
            return bad(format!("the root is page {root} of {pages}"));
        }
        if free_list != NO_FREE_LIST && !(2..pages).contains(&free_list) {
            return bad(format!("the list of free pages is page {free_list} of {pages}"));
        }
        Ok(self)
    }
}

impl<S: Bytes> Database<S> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`Error::NotDatabase`] when neither of its two versions is intact and fits the size.
    pub fn open(source: S) -> Result<Self, Error> {
        let found = Head::find(&source);
        let no_head = || Error::NotDatabase("it has no intact head of a bbolt database".to_owned());
        let head = found.ok_or_else(no_head)?.check(source.length())?;
        Ok(Self { source, head })
    }

    /// Bytes of the pages in use, free ones included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.head.pages * self.head.page_size
    }

    /// Calls `each` with bucket, key and value of everything in the buckets that `wanted` names, in
    /// the order of the file's trees. Every page on the way is checked: its number and kind, that it
    /// is used once, that its elements lie inside, and that all keys ascend.
    ///
    /// # Errors
    /// [`Error::Page`] for the first damaged page, and those of `each`.
    pub fn visit<E: Failure>(
        &self,
        wanted: &dyn Fn(&[u8]) -> bool,
        each: &mut EachOfBucket<'_, E>,
    ) -> Result<(), E> {
        let mut walk = Walk { database: self, seen: Seen::new(self.head.pages) };
        let mut buckets = Vec::new();
        let mut root = Run::default();
        walk.tree(self.head.root, &mut root, 0, &mut |page, leaf| {
            if !leaf.is_bucket {
                let problem = "the root holds something that is no bucket";
                return Err(Error::page(page, problem).into());
            }
            if leaf.value.len() < BUCKET {
                return Err(Error::page(page, "a bucket is too short").into());
            }
            buckets.push((leaf.key.to_vec(), leaf.value.to_vec(), page));
            Ok::<(), E>(())
        })?;
        for (name, value, page) in buckets {
            if !wanted(&name) {
                continue;
            }
            let mut run = Run::default();
            let mut pair = |page: u64, leaf: Leaf<'_>| {
                if leaf.is_bucket {
                    return Err(Error::page(page, "a bucket within a bucket").into());
                }
                each(&name, leaf.key, leaf.value)
            };
            match u64_at(&value, 0) {
                0 => {
                    let inside = Page { number: page, bytes: value[BUCKET..].to_vec() };
                    if inside.header()?.kind != kind::LEAF {
                        return Err(Error::page(page, "a bucket's own page is no leaf").into());
                    }
                    inside.leaves(&mut run, &mut pair)?;
                }
                top => walk.tree(top, &mut run, 0, &mut pair)?,
            }
        }
        Ok(())
    }
}

/// Which pages were read: a page that is met twice is damage, and might go round for ever.
struct Seen {
    bits: Vec<u64>,
}

impl Seen {
    fn new(pages: u64) -> Self {
        // The count was checked against the size of the file.
        let words = usize::try_from(pages.div_ceil(64)).expect("a file has fewer pages");
        Self { bits: vec![0; words] }
    }

    fn place(page: u64) -> (usize, u64) {
        (usize::try_from(page / 64).expect("within the file"), 1 << (page % 64))
    }

    /// False when it was seen before.
    fn insert(&mut self, page: u64) -> bool {
        let (word, bit) = Self::place(page);
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        new
    }
}

/// The keys of one tree so far.
#[derive(Default)]
struct Run {
    last: Option<Vec<u8>>,
}

impl Run {
    fn ascend(&mut self, page: u64, key: &[u8]) -> Result<(), Error> {
        match &mut self.last {
            Some(last) if key <= last.as_slice() => {
                Err(Error::page(page, "its keys do not ascend"))
            }
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
                Ok(())
            }
            None => {
                self.last = Some(key.to_vec());
                Ok(())
            }
        }
    }
}

struct Leaf<'a> {
    is_bucket: bool,
    key: &'a [u8],
    value: &'a [u8],
}

struct PageHeader {
    number: u64,
    kind: u16,
    count: usize,
    further: u64,
}

/// A page with the pages that it goes on over.
struct Page {
    number: u64,
    bytes: Vec<u8>,
}

impl Page {
    fn header(&self) -> Result<PageHeader, Error> {
        let bytes = self.bytes.get(..HEADER);
        let bytes = bytes.ok_or_else(|| Error::page(self.number, "it is too short"))?;
        Ok(PageHeader {
            number: u64_at(bytes, 0),
            kind: u16::from_le_bytes(number_at(bytes, 8)),
            count: usize::from(u16::from_le_bytes(number_at(bytes, 10))),
            further: u64::from(u32_at(bytes, 12)),
        })
    }

    /// The bytes that an element points to, which must lie behind all elements.
    fn part(
        &self,
        element: usize,
        count: usize,
        distance: u32,
        length: u64,
    ) -> Result<&[u8], Error> {
        let start = element as u64 + u64::from(distance);
        let range = usize::try_from(start).ok().zip(usize::try_from(start + length).ok());
        let inside = range.filter(|(start, _)| *start >= HEADER + count * ELEMENT);
        inside
            .and_then(|(start, end)| self.bytes.get(start..end))
            .ok_or_else(|| Error::page(self.number, "an element points out of it"))
    }

    /// The elements' places, all of them within the page.
    fn elements(&self) -> Result<(usize, impl Iterator<Item = usize>), Error> {
        let count = self.header()?.count;
        if HEADER + count * ELEMENT > self.bytes.len() {
            return Err(Error::page(self.number, format!("{count} elements do not fit in it")));
        }
        Ok((count, (0..count).map(|index| HEADER + index * ELEMENT)))
    }

    fn leaves<E: Failure>(
        &self,
        run: &mut Run,
        each: &mut dyn FnMut(u64, Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (count, places) = self.elements()?;
        for at in places {
            let [flags, distance, key, value] =
                [0, 4, 8, 12].map(|field| u32_at(&self.bytes, at + field));
            if flags & !IS_BUCKET != 0 {
                return Err(
                    Error::page(self.number, format!("an element has flags {flags}")).into()
                );
            }
            let both = self.part(at, count, distance, u64::from(key) + u64::from(value))?;
            let (key, value) = both.split_at(key as usize);
            run.ascend(self.number, key)?;
            each(self.number, Leaf { is_bucket: flags == IS_BUCKET, key, value })?;
        }
        Ok(())
    }

    /// First keys and pages of the children.
    fn children(&self) -> Result<Vec<(Vec<u8>, u64)>, Error> {
        let (count, places) = self.elements()?;
        if count == 0 {
            return Err(Error::page(self.number, "a branch without children"));
        }
        places
            .map(|at| {
                let [distance, key] = [0, 4].map(|field| u32_at(&self.bytes, at + field));
                let key = self.part(at, count, distance, u64::from(key))?;
                Ok((key.to_vec(), u64_at(&self.bytes, at + 8)))
            })
            .collect()
    }
}

struct Walk<'a, S> {
    database: &'a Database<S>,
    seen: Seen,
}

impl<S: Bytes> Walk<'_, S> {
    /// Reads a page whole.
    fn load(&mut self, number: u64, parent: u64) -> Result<Page, Error> {
        let Head { page_size, pages, .. } = self.database.head;
        if !(2..pages).contains(&number) {
            return Err(Error::page(parent, format!("it points to page {number} of {pages}")));
        }
        let fetch = |bytes: &mut [u8]| {
            let read = self.database.source.read_at(number * page_size, bytes);
            read.map_err(|source| Error::Io { context: format!("read page {number}"), source })
        };
        let mut bytes = vec![0; usize::try_from(page_size).expect("checked at open")];
        fetch(&mut bytes)?;
        let mut page = Page { number, bytes };
        let header = page.header()?;
        if header.number != number {
            return Err(Error::page(number, format!("it says that it is page {}", header.number)));
        }
        if header.further > 0 {
            let all = header.further + 1;
            let length = all * page_size;
            if all > pages - number || length > PAGE_BYTES_MAX {
                let further = header.further;
                return Err(Error::page(number, format!("it goes on over {further} more pages")));
            }
            page.bytes = vec![0; usize::try_from(length).expect("within the limit")];
            fetch(&mut page.bytes)?;
        }
        for used in number..=number + header.further {
            if !self.seen.insert(used) {
                return Err(Error::page(used, "it is used twice"));
            }
        }
        Ok(page)
    }

    fn tree<E: Failure>(
        &mut self,
        number: u64,
        run: &mut Run,
        depth: usize,
        each: &mut dyn FnMut(u64, Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let page = self.load(number, number)?;
        self.below(&page, run, depth, each)
    }

    fn below<E: Failure>(
        &mut self,
        page: &Page,
        run: &mut Run,
        depth: usize,
        each: &mut dyn FnMut(u64, Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match page.header()?.kind {
            kind::LEAF => page.leaves(run, each),
            kind::BRANCH if depth < DEPTH_MAX => {
                let mut before: Option<Vec<u8>> = None;
                for (key, child) in page.children()? {
                    // A child's keys lie between its own key here and the next one's.
                    let in_order = run.last.as_ref().is_none_or(|last| last < &key)
                        && before.as_ref().is_none_or(|before| before < &key);
                    if !in_order {
                        return Err(Error::page(page.number, "its keys do not ascend").into());
                    }
                    let child = self.load(child, page.number)?;
                    let mut checked = |number: u64, leaf: Leaf<'_>| {
                        if leaf.key < key.as_slice() {
                            let problem = "its first key is below the one in its parent";
                            return Err(Error::page(number, problem).into());
                        }
                        each(number, leaf)
                    };
                    self.below(&child, run, depth + 1, &mut checked)?;
                    before = Some(key);
                }
                Ok(())
            }
            kind::BRANCH => Err(Error::page(page.number, "the tree is too deep").into()),
            other => {
                Err(Error::page(page.number, format!("a tree has a page of kind {other}")).into())
            }
        }
    }
}
