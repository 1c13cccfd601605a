//! Writes a database front to back, in memory for one page of each level.
//!
//! The head stands first but names the roots, which are known last: so the content is gone through
//! twice. The first time only lengths are counted ([`measure`]); the second time, with the same
//! content, the pages are made ([`write`]).

use super::{BUCKET, ELEMENT, EachPair, HEAD, HEADER, IS_BUCKET, MAGIC, VERSION, fnv, kind};
use crate::error::{Error, Failure};

/// The page size that is written; readers take it from the head.
const PAGE: usize = 4096;
/// Head, head, free list, buckets.
const FIRST_FREE_PAGE: u64 = 4;
const FREE_LIST_PAGE: u64 = 2;
const ROOT_PAGE: u64 = 3;

/// What goes into a database: buckets in the order of their names, keys in theirs.
pub trait Content<E> {
    /// The names, ascending.
    fn buckets(&self) -> &[&'static str];

    /// Calls `each` with every pair of a bucket, keys ascending; the same pairs at every call.
    ///
    /// # Errors
    /// Its own, and those of `each`.
    fn pairs(&self, bucket: &str, each: &mut EachPair<'_, E>) -> Result<(), E>;
}

/// Where everything will stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The root page of each bucket; none for an empty one.
    roots: Vec<Option<u64>>,
    pages: u64,
}

impl Layout {
    /// Bytes of the database.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE as u64
    }
}

/// Counts the pages that the content needs.
///
/// # Errors
/// Those of the content.
pub fn measure<E: Failure>(content: &dyn Content<E>) -> Result<Layout, E> {
    let mut out = Counter { next: FIRST_FREE_PAGE };
    let roots = trees(content, &mut out)?;
    Ok(Layout { roots, pages: out.next })
}

/// Makes the pages and hands them to `out`, in order.
///
/// # Errors
/// Those of the content and of `out`; [`Error::Changed`] when the content is not what was measured.
pub fn write<E: Failure>(
    content: &dyn Content<E>,
    layout: &Layout,
    out: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for number in 0..2 {
        out(&head(number, layout))?;
    }
    out(&Node::new(kind::FREE_LIST).page(FREE_LIST_PAGE))?;
    out(&root(content.buckets(), layout).page(ROOT_PAGE))?;

    let mut pages = Pages { next: FIRST_FREE_PAGE, end: layout.pages, out };
    let roots = trees(content, &mut pages)?;
    if roots != layout.roots || pages.next != layout.pages {
        return Err(Error::Changed.into());
    }
    Ok(())
}

fn trees<E: Failure>(
    content: &dyn Content<E>,
    out: &mut dyn Output<E>,
) -> Result<Vec<Option<u64>>, E> {
    let mut roots = Vec::new();
    for bucket in content.buckets() {
        let mut tree = Tree::new(out);
        content.pairs(bucket, &mut |key, value| tree.push(key, value))?;
        roots.push(tree.finish()?);
    }
    Ok(roots)
}

fn head(number: u64, layout: &Layout) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEAD);
    for word in [MAGIC, VERSION, PAGE as u32, 0] {
        body.extend(word.to_le_bytes());
    }
    // The number of the page doubles as that of the transaction: the second one counts.
    for word in [ROOT_PAGE, 0, FREE_LIST_PAGE, layout.pages, number] {
        body.extend(word.to_le_bytes());
    }
    let sum = fnv(&body);
    let mut page = header(number, kind::HEAD, 0, 0).to_vec();
    page.extend(body);
    page.extend(sum.to_le_bytes());
    page.resize(PAGE, 0);
    page
}

fn root(buckets: &[&str], layout: &Layout) -> Node {
    let mut root = Node::new(kind::LEAF);
    for (name, page) in buckets.iter().zip(&layout.roots) {
        let mut value = [0; BUCKET].to_vec();
        match page {
            Some(page) => value[..8].copy_from_slice(&page.to_le_bytes()),
            // An empty bucket has its empty page right here.
            None => value.extend(header(0, kind::LEAF, 0, 0)),
        }
        root.push_pair(name.as_bytes(), &value, IS_BUCKET);
    }
    root
}

fn header(number: u64, kind: u16, count: u16, further: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..10].copy_from_slice(&kind.to_le_bytes());
    bytes[10..12].copy_from_slice(&count.to_le_bytes());
    bytes[12..].copy_from_slice(&further.to_le_bytes());
    bytes
}

/// A page in the making, or only its size.
struct Node {
    kind: u16,
    elements: Vec<Element>,
    data: Vec<u8>,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Element {
    /// The flags of a leaf's element; nothing of a branch's.
    flags: u32,
    key: usize,
    value: usize,
    /// Of a branch.
    child: u64,
}

impl Node {
    fn new(kind: u16) -> Self {
        Self { kind, elements: Vec::new(), data: Vec::new(), bytes: HEADER }
    }

    fn fits(&self, more: usize) -> bool {
        self.bytes + ELEMENT + more <= PAGE
    }

    fn push_pair(&mut self, key: &[u8], value: &[u8], flags: u32) {
        self.elements.push(Element { flags, key: key.len(), value: value.len(), child: 0 });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        self.bytes += ELEMENT + key.len() + value.len();
    }

    fn push_child(&mut self, key: &[u8], child: u64) {
        self.elements.push(Element { flags: 0, key: key.len(), value: 0, child });
        self.data.extend_from_slice(key);
        self.bytes += ELEMENT + key.len();
    }

    /// Takes the last child out again.
    fn pop_child(&mut self) -> Option<(Vec<u8>, u64)> {
        let last = self.elements.pop()?;
        self.bytes -= ELEMENT + last.key;
        Some((self.data.split_off(self.data.len() - last.key), last.child))
    }

    fn first_key(&self) -> Vec<u8> {
        let length = self.elements.first().map_or(0, |first| first.key);
        self.data[..length].to_vec()
    }

    fn pages(&self) -> u64 {
        self.bytes.div_ceil(PAGE) as u64
    }

    fn clear(&mut self) {
        self.elements.clear();
        self.data.clear();
        self.bytes = HEADER;
    }

    fn page(&self, number: u64) -> Vec<u8> {
        let count = u16::try_from(self.elements.len()).expect("a page has few elements");
        let further = u32::try_from(self.pages() - 1).expect("a value is far below 16 TiB");
        let mut page = Vec::with_capacity(self.bytes.next_multiple_of(PAGE));
        page.extend(header(number, self.kind, count, further));
        // From each element to its key: the elements after it, and the data before it.
        let mut distance = self.elements.len() * ELEMENT;
        let word = |number: usize| u32::try_from(number).expect("a page is far below 4 GiB");
        for element in &self.elements {
            if self.kind == kind::BRANCH {
                page.extend(word(distance).to_le_bytes());
                page.extend(word(element.key).to_le_bytes());
                page.extend(element.child.to_le_bytes());
            } else {
                page.extend(element.flags.to_le_bytes());
                page.extend(word(distance).to_le_bytes());
                page.extend(word(element.key).to_le_bytes());
                page.extend(word(element.value).to_le_bytes());
            }
            distance = distance + element.key + element.value - ELEMENT;
        }
        page.extend_from_slice(&self.data);
        page.resize(page.len().next_multiple_of(PAGE), 0);
        page
    }
}

/// Where finished pages go.
trait Output<E> {
    /// Answers the number of the page.
    fn put(&mut self, node: &Node) -> Result<u64, E>;
}

struct Counter {
    next: u64,
}

impl<E> Output<E> for Counter {
    fn put(&mut self, node: &Node) -> Result<u64, E> {
        let number = self.next;
        self.next += node.pages();
        Ok(number)
    }
}

struct Pages<'a, E> {
    next: u64,
    end: u64,
    out: &'a mut dyn FnMut(&[u8]) -> Result<(), E>,
}

impl<E: Failure> Output<E> for Pages<'_, E> {
    fn put(&mut self, node: &Node) -> Result<u64, E> {
        let number = self.next;
        self.next += node.pages();
        if self.next > self.end {
            return Err(Error::Changed.into());
        }
        (self.out)(&node.page(number))?;
        Ok(number)
    }
}

/// One bucket's tree, built from its leaves upwards.
struct Tree<'a, E> {
    out: &'a mut dyn Output<E>,
    leaf: Node,
    /// The unfinished branch of each level, the lowest first.
    branches: Vec<Node>,
}

impl<'a, E: Failure> Tree<'a, E> {
    fn new(out: &'a mut dyn Output<E>) -> Self {
        Self { out, leaf: Node::new(kind::LEAF), branches: Vec::new() }
    }

    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), E> {
        if !self.leaf.elements.is_empty() && !self.leaf.fits(key.len() + value.len()) {
            self.finish_leaf()?;
        }
        self.leaf.push_pair(key, value, 0);
        Ok(())
    }

    fn finish_leaf(&mut self) -> Result<(), E> {
        let number = self.out.put(&self.leaf)?;
        let key = self.leaf.first_key();
        self.leaf.clear();
        self.add_child(0, &key, number)
    }

    fn add_child(&mut self, level: usize, key: &[u8], child: u64) -> Result<(), E> {
        if level == self.branches.len() {
            self.branches.push(Node::new(kind::BRANCH));
        }
        let branch = &mut self.branches[level];
        if branch.fits(key.len()) || branch.elements.len() < 3 {
            branch.push_child(key, child);
            return Ok(());
        }
        // The last child moves on with the new one: bbolt cannot rebalance a branch with one child,
        // and this may be the last that comes.
        let last = branch.pop_child();
        let number = self.out.put(branch)?;
        let first = branch.first_key();
        branch.clear();
        if let Some((key, child)) = last {
            branch.push_child(&key, child);
        }
        branch.push_child(key, child);
        self.add_child(level + 1, &first, number)
    }

    /// Answers the root's page; none for a tree without keys.
    fn finish(mut self) -> Result<Option<u64>, E> {
        if self.leaf.elements.is_empty() {
            return Ok(None);
        }
        if self.branches.is_empty() {
            return self.out.put(&self.leaf).map(Some);
        }
        self.finish_leaf()?;
        let mut level = 0;
        loop {
            let number = self.out.put(&self.branches[level])?;
            if level + 1 == self.branches.len() {
                return Ok(Some(number));
            }
            let key = self.branches[level].first_key();
            level += 1;
            self.add_child(level, &key, number)?;
        }
    }
}
