//! Objects at rest: most objects of a cluster are written, listed once, and then asked for by nobody for
//! hours. Their bytes are kept packed (LZ4), each as what it has other than a neighbour of the same kind.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | R1 | What is read is what was kept, byte for byte; a packing that does not say so is a fault, not an answer. |
//! | R2 | An object is packed when nobody asked for it during a whole turn of [`crate::limits::REST_TURN`]. |
//! | R3 | Who asks for a packed object once unpacks it for himself; asked for again in the same turn, it stays unpacked. |
//! | R4 | A packed object refers to a neighbour's bytes at most, never to something that is packed. |

use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use lz4_flex::block;
use parking_lot::RwLock;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::Caches;
use super::cache::Cache;
use super::event::Version;
use crate::limits::{
    REST_ASKED_BYTES, REST_GIVEN_BACK_AFTER, REST_GROUP, REST_NEIGHBOUR_MAX, REST_SMALLEST,
    REST_TURN,
};

/// An object's JSON. A line feed follows it where it lies, as every answer ends with one.
#[derive(Clone, Debug)]
pub(crate) struct Json(Bytes);

impl Json {
    pub(crate) fn new(mut json: Vec<u8>) -> Self {
        json.push(b'\n');
        // It stays for long; what was kept free for writing it does not.
        if json.capacity() > json.len() + json.len() / 8 + 64 {
            json.shrink_to_fit();
        }
        Self(Bytes::from(json))
    }

    /// With its line feed.
    pub(crate) fn line(&self) -> Bytes {
        self.0.clone()
    }

    /// Of which neighbours are packed.
    fn as_neighbour(&self) -> &[u8] {
        let from = self.0.len().saturating_sub(REST_NEIGHBOUR_MAX);
        &self.0[from..]
    }
}

impl Deref for Json {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }
}

/// How the bytes lie.
#[derive(Debug)]
enum Form {
    Plain(Json),
    Packed { of: Json, bytes: Box<[u8]> },
}

/// An object's JSON for as long as a cache has it.
#[derive(Debug)]
pub(super) struct Kept {
    form: RwLock<Form>,
    /// Bytes when it is not packed, without the line feed.
    size: usize,
    /// In this turn.
    asked: AtomicBool,
}

impl Kept {
    pub(super) fn new(json: Json) -> Self {
        let size = json.len();
        Self { form: RwLock::new(Form::Plain(json)), size, asked: AtomicBool::new(true) }
    }

    /// Bytes of the JSON, without unpacking it.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The JSON, for who needs it.
    pub(super) fn json(&self) -> Json {
        let was_asked = self.asked.swap(true, Ordering::Relaxed);
        let json = match &*self.form.read() {
            Form::Plain(json) => return json.clone(),
            Form::Packed { of, bytes } => unpack(bytes, of, self.size),
        };
        if was_asked {
            *self.form.write() = Form::Plain(json.clone());
        }
        json
    }

    /// Somebody wants the object, in whatever form.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// The end of a turn: whether nobody asked for the object, and then its JSON, if it can be packed.
    pub(super) fn idle(&self) -> (bool, Option<Json>) {
        let is_idle = !self.asked.swap(false, Ordering::Relaxed);
        let json = match &*self.form.read() {
            Form::Plain(json) if is_idle && self.size >= REST_SMALLEST => Some(json.clone()),
            Form::Plain(_) | Form::Packed { .. } => None,
        };
        (is_idle, json)
    }

    /// Packs it as what it has other than `of`, if that saves a good part.
    fn pack(&self, json: &Json, of: &Json) -> bool {
        let bytes = block::compress_with_dict(json, of.as_neighbour());
        if bytes.len() > self.size / 4 * 3 {
            return false;
        }
        let packed = Form::Packed { of: of.clone(), bytes: bytes.into_boxed_slice() };
        let mut form = self.form.write();
        // Somebody may have asked meanwhile.
        let is_idle = !self.asked.load(Ordering::Relaxed);
        if is_idle {
            *form = packed;
        }
        is_idle
    }

    #[cfg(test)]
    fn is_packed(&self) -> bool {
        matches!(&*self.form.read(), Form::Packed { .. })
    }
}

/// R1
fn unpack(bytes: &[u8], of: &Json, size: usize) -> Json {
    let mut json = vec![0; size + 1];
    let unpacked = block::decompress_into_with_dict(bytes, &mut json[..size], of.as_neighbour());
    assert!(
        unpacked.as_ref().is_ok_and(|length| *length == size),
        "what was packed here unpacks: {unpacked:?} of {size}"
    );
    json[size] = b'\n';
    Json(Bytes::from(json))
}

/// Packs what of a group of neighbours nobody asked for. The first stays as it is: the others are packed
/// as what they have other than it. How many there were.
async fn rest(group: &[Arc<Version>]) -> usize {
    let mut idle = group.iter().filter_map(|version| Some((version, version.idle()?)));
    let Some((_, first)) = idle.next() else { return 0 };
    let mut packed = 0;
    for (version, json) in idle {
        packed += usize::from(version.kept().pack(&json, &first));
        // One may be of a megabyte: others have their turn after each.
        yield_now().await;
    }
    packed
}

async fn rest_all(cache: &Cache) -> usize {
    let (mut after, mut packed) = (None, 0);
    loop {
        let group = cache.after(after.as_deref(), REST_GROUP);
        let Some(last) = group.last() else { return packed };
        after = Some(last.key.clone());
        packed += rest(&group).await;
        yield_now().await;
    }
}

/// Asks the allocator for something large, and gives it back: only then does mimalloc look at what was
/// freed a while ago, and gives that back to the system. A server with nothing to do would ask for nothing.
fn let_memory_go() {
    drop(black_box(Vec::<u8>::with_capacity(REST_ASKED_BYTES)));
}

/// Packs what rests, turn by turn, for as long as the server runs.
pub(crate) async fn run(caches: Arc<Caches>) {
    loop {
        sleep(REST_TURN).await;
        let mut packed = 0;
        for cache in caches.every() {
            packed += rest_all(&cache).await;
        }
        if packed > 0 {
            sleep(REST_GIVEN_BACK_AFTER).await;
            let_memory_go();
        }
    }
}

#[cfg(test)]
mod tests {
    use api_machinery::kinds;
    use proptest::prelude::*;

    use super::super::Filter;
    use super::super::cache::Contents;
    use super::*;
    use crate::storage::RawValue;

    fn kept(text: &str) -> Kept {
        Kept::new(Json::new(text.as_bytes().to_vec()))
    }

    /// A turn's end for a neighbour of `of`.
    fn turn(kept: &Kept, of: &Json) {
        if let (_, Some(json)) = kept.idle() {
            kept.pack(&json, of);
        }
    }

    fn pod(name: &str) -> String {
        let filler = "\"image\":\"registry.example.com/application:v1\",".repeat(30);
        format!("{{{filler}\"name\":\"{name}\"}}")
    }

    #[test]
    fn what_nobody_asks_for_in_a_turn_is_packed_and_reads_as_it_was() {
        let (text, of) = (pod("a"), Json::new(pod("b").into_bytes()));
        let kept = kept(&text);
        turn(&kept, &of);
        assert!(!kept.is_packed(), "it came in this turn");
        turn(&kept, &of);
        assert!(kept.is_packed());
        assert_eq!(kept.size(), text.len());
        let json = kept.json();
        assert_eq!((&*json, &*json.line()), (text.as_bytes(), format!("{text}\n").as_bytes()));
        assert!(kept.is_packed(), "one question does not keep it");
        assert_eq!(&*kept.json(), text.as_bytes());
        assert!(!kept.is_packed(), "a second one does");
        turn(&kept, &of);
        assert!(!kept.is_packed(), "it was asked for in this turn");
        turn(&kept, &of);
        assert!(kept.is_packed());
    }

    #[tokio::test]
    async fn a_cache_at_rest_shows_what_it_showed() {
        let pods = kinds::find("", "v1", "pods").expect("pods are a kind");
        let version = |at: u64| {
            let json = format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{at}","namespace":"n","annotations":{{"a":"{at} {}"}}}}}}"#,
                "some text ".repeat(100)
            );
            let raw = RawValue::plain(format!("/registry/pods/n/p{at:02}"), json, at);
            Arc::new(Version::of(pods, &raw).expect("it is a pod"))
        };
        let versions: Vec<_> = (1..=70).map(version).collect();
        let cache = Cache::new(pods);
        cache.fill(Contents { versions, ..Contents::default() }, 100);
        let shown = || {
            let (versions, _) = cache.list("/registry/pods/", &Filter::default(), 100);
            versions.iter().map(|version| version.json().line()).collect::<Vec<_>>()
        };
        let before = shown();
        assert_eq!(rest_all(&cache).await, 0, "somebody asked in this turn");
        // Two groups of 32, one of 6: the first of each stays.
        assert_eq!(rest_all(&cache).await, 67);
        assert_eq!(rest_all(&cache).await, 0, "they are");
        assert_eq!(shown(), before);
        assert_eq!(shown(), before, "unpacked again");
        assert_eq!(rest_all(&cache).await, 0, "somebody asked in this turn");
        assert_eq!(rest_all(&cache).await, 67);
    }

    #[test]
    fn what_is_asked_for_while_it_is_packed_stays() {
        let (kept, of) = (kept(&pod("a")), Json::new(pod("b").into_bytes()));
        assert!(!kept.idle().0);
        let (_, json) = kept.idle();
        let json = json.expect("nobody asked");
        kept.json();
        kept.pack(&json, &of);
        assert!(!kept.is_packed());
    }

    #[test]
    fn what_is_small_or_has_nothing_in_common_stays_as_it_is() {
        let of = Json::new(pod("b").into_bytes());
        let mut state = 1_u32;
        let mut letter = || {
            // Marsaglia's xorshift: nothing comes twice soon.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            char::from(b'#' + (state >> 8) as u8 % 90)
        };
        let noise: String = (0..2000).map(|_| letter()).collect();
        for text in ["{}", &noise] {
            let kept = kept(text);
            turn(&kept, &of);
            turn(&kept, &of);
            assert!(!kept.is_packed());
        }
    }

    proptest! {
        /// R1, also for neighbours that are larger than what is looked at.
        #[test]
        fn what_is_packed_is_read_byte_for_byte(
            own in prop::collection::vec(0..4_u8, 1..5000), other in prop::collection::vec(0..4_u8, 0..3000),
            times in 1..60_usize,
        ) {
            let kept = Kept::new(Json::new(own.clone()));
            kept.asked.store(false, Ordering::Relaxed);
            kept.pack(&Json::new(own.clone()), &Json::new(other.repeat(times)));
            prop_assert_eq!(&*kept.json(), &own[..]);
            prop_assert_eq!(&*kept.json(), &own[..]);
        }
    }
}
