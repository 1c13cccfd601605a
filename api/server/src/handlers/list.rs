//! GET of a collection, with upstream's rules for resourceVersion, limit and continue.

use std::sync::Arc;

use api_machinery::field::{Error, Path};
use api_machinery::selector::{Fields, Labels};
use api_machinery::{Status, continue_token, convert};
use http::Response;
use store_client::Error as StoreError;

use super::{Context, list_options};
use crate::body::Body;
use crate::encoding::{self, ListMeta};
use crate::limits::{LIST_CHUNK_BYTES, STORE_PAGE_KEYS};
use crate::request::Query;
use crate::storage;
use crate::watch_cache::{Filter, Part, Version, Wanted};

/// Where a list is read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The cache, when it has seen this revision; `None` takes what is there.
    Cache { not_older_than: Option<u64> },
    /// The cache, when it shows everything written before the request.
    Fresh,
    /// One revision, from a key on: the cache, or the store when the cache knows no more of it.
    Exact { revision: u64, start: String },
    /// As [`Self::Fresh`], from a key on: the rest of a list whose revision is gone.
    Rest { start: String },
}

/// Selectors of a list, a watch or a deletecollection.
pub(super) fn filter(context: &Context) -> Result<Filter, Status> {
    let labels = Labels::parse(context.query.get("labelSelector").unwrap_or_default())?;
    let fields = Fields::parse(
        context.query.get("fieldSelector").unwrap_or_default(),
        context.kind.selectable_fields,
        |field| context.kind.unknown_field(field),
    )?;
    let fields = convert::selector(context.kind, fields);
    Ok(Filter { namespace: context.namespace().to_owned(), labels, fields })
}

/// A resourceVersion; `None` when it is not given.
pub(super) fn parse_revision(text: &str) -> Result<Option<u64>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        let why = format!("strconv.ParseUint: parsing {text:?}: {why}");
        Error::invalid(&Path::new("resourceVersion"), text, why)
    })
}

/// A number of the query, as Go reads it; `None` when it is not given.
pub(super) fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let Some(text) = query.non_empty(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
}

/// How long a watch is to go on, in seconds; lists look at it too, and do nothing with it.
pub(super) fn timeout_seconds(query: &Query) -> Result<Option<u64>, Status> {
    Ok(number(query, "timeoutSeconds")?.map(|seconds| seconds.try_into().unwrap_or(0)))
}

pub(crate) async fn list(context: &Context) -> Result<Response<Body>, Status> {
    let filter = filter(context)?;
    let (items, meta) = read(context, &filter).await?;
    let (shape, accepted) = (context.shape.clone(), context.accepted);
    if accepted.is_written_as_sent() {
        return encoding::list(&shape, &meta, items, &accepted);
    }
    // Trees of many items take many times their memory, and what is made of them lies there until it
    // is sent: there are only so many at one time.
    let size = items.iter().map(|item| item.size()).sum::<usize>();
    let place = match size > LIST_CHUNK_BYTES && !accepted.is_made_of_messages() {
        true => context.server.whole_lists.clone().acquire_owned().await.ok(),
        false => None,
    };
    // Making trees or messages of many items takes a while: not on a thread that serves others.
    let mut response =
        tokio::task::spawn_blocking(move || encoding::list(&shape, &meta, items, &accepted))
            .await
            .map_err(|error| Status::internal(&error.to_string()))??;
    if let (Some(_place), Body::Full(Some(bytes))) = (place, response.body()) {
        let held = encoding::Held { bytes: bytes.clone(), _place };
        *response.body_mut() = Body::Pulled(Box::new(encoding::Expiring::new(Box::new(held))));
    }
    Ok(response)
}

fn source(context: &Context, limit: u64, prefix: &str) -> Result<Source, Status> {
    let query = &context.query;
    list_options::check(query, false)?;
    let rule = query.get("resourceVersionMatch").unwrap_or_default();
    let text = query.get("resourceVersion").unwrap_or_default();
    if let Some(token) = query.non_empty("continue") {
        let token = continue_token::decode(prefix, token)?;
        if !text.is_empty() && text != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return Ok(match token.revision {
            Some(revision) => Source::Exact { revision, start: token.start },
            None => Source::Rest { start: token.start },
        });
    }
    let revision = parse_revision(text)
        .map_err(|error| Status::bad_request(format!("invalid resource version: {error}")))?;
    match (rule, revision) {
        ("", None) => Ok(Source::Fresh),
        ("", Some(0)) => Ok(Source::Cache { not_older_than: None }),
        ("", Some(revision)) if limit > 0 => Ok(Source::Exact { revision, start: String::new() }),
        ("", not_older_than) => Ok(Source::Cache { not_older_than }),
        ("Exact", Some(revision)) => Ok(Source::Exact { revision, start: String::new() }),
        ("NotOlderThan", Some(0)) => Ok(Source::Cache { not_older_than: None }),
        // Nothing else was let through.
        (_, not_older_than) => Ok(Source::Cache { not_older_than }),
    }
}

/// The objects of a page, and what the list says of itself.
pub(super) async fn read(context: &Context, filter: &Filter) -> Result<Listed, Status> {
    let server = &context.server;
    // A negative one is none to upstream.
    let limit = number(&context.query, "limit")?.and_then(|limit| limit.try_into().ok());
    let limit: u64 = limit.unwrap_or(0);
    timeout_seconds(&context.query)?;
    let prefix = server.storage.prefix(context.kind, context.namespace());
    let wanted = Wanted { prefix: &prefix, start: "", filter, limit };
    match source(context, limit, &prefix)? {
        Source::Exact { revision, start } => {
            if revision >= server.caches.compacted() {
                let wanted = Wanted { start: &start, ..wanted };
                let part = context.cache().part_at(&wanted, revision, server.caches.revision());
                context.check_cache()?;
                if let Some(part) = part {
                    return Ok(listed(part, &wanted));
                }
            }
            from_store(context, &Wanted { start: &start, ..wanted }, revision).await
        }
        Source::Rest { start } => {
            server.caches.wait_until_fresh(&server.storage).await?;
            from_cache(context, &Wanted { start: &start, ..wanted })
        }
        Source::Fresh => {
            server.caches.wait_until_fresh(&server.storage).await?;
            from_cache(context, &wanted)
        }
        // Upstream ignores the limit when any version will do.
        Source::Cache { not_older_than: None } => {
            server.caches.wait_for(1).await?;
            from_cache(context, &Wanted { limit: 0, ..wanted })
        }
        Source::Cache { not_older_than: Some(revision) } => {
            server.caches.wait_for(revision).await?;
            from_cache(context, &wanted)
        }
    }
}

type Listed = (Vec<Arc<Version>>, ListMeta);

fn from_cache(context: &Context, wanted: &Wanted<'_>) -> Result<Listed, Status> {
    let part = context.cache().part(wanted, context.server.caches.revision());
    context.check_cache()?;
    Ok(listed(part?, wanted))
}

fn listed(part: Part, wanted: &Wanted<'_>) -> Listed {
    let mut meta = ListMeta { revision: part.revision, ..ListMeta::default() };
    if let Some(last) = part.items.last().filter(|_| part.beyond > 0) {
        meta.continue_token = continue_token::encode(wanted.prefix, &last.key, Some(part.revision));
        meta.remaining = wanted.filter.is_everything().then_some(part.beyond);
    }
    (part.items, meta)
}

async fn from_store(
    context: &Context,
    wanted: &Wanted<'_>,
    revision: u64,
) -> Result<Listed, Status> {
    let storage = &context.server.storage;
    let Wanted { prefix, filter, limit, .. } = *wanted;
    let (mut start, was_continued) = (wanted.start.to_owned(), !wanted.start.is_empty());
    let mut items = Vec::new();
    loop {
        let missing = limit.saturating_sub(items.len() as u64);
        let page_keys = match (limit, filter.is_everything()) {
            (0, _) | (_, false) => STORE_PAGE_KEYS,
            (_, true) => storage::signed(missing).min(STORE_PAGE_KEYS),
        };
        let page = match storage.page(prefix, &start, page_keys, revision).await {
            Ok(page) => page,
            Err(error) => {
                let last = (!start.is_empty()).then_some(start.as_str());
                let versions = (revision, context.server.caches.revision());
                return Err(refused(&error, prefix, (last, was_continued), versions));
            }
        };
        let mut beyond = page.count.saturating_sub(page.values.len() as u64);
        for (index, raw) in page.values.iter().enumerate() {
            raw.check_listed()?;
            let version = context.shape.version_of(raw)?;
            start = format!("{}\u{0}", version.key);
            if filter.matches(&version.header) {
                items.push(Arc::new(version));
            }
            if limit > 0 && items.len() as u64 == limit {
                beyond += (page.values.len() - index - 1) as u64;
                break;
            }
        }
        let is_full = limit > 0 && items.len() as u64 >= limit;
        if beyond == 0 || is_full || page.values.is_empty() {
            let mut meta = ListMeta { revision, ..ListMeta::default() };
            if beyond > 0 {
                let last = start.trim_end_matches('\u{0}');
                meta.continue_token = continue_token::encode(prefix, last, Some(revision));
                meta.remaining = filter.is_everything().then_some(beyond);
            }
            return Ok((items, meta));
        }
    }
}

/// A revision that is gone is a 410; with a token to go on from the present state.
fn refused(
    error: &StoreError,
    prefix: &str,
    (start, was_continued): (Option<&str>, bool),
    (revision, current): (u64, u64),
) -> Status {
    match error {
        StoreError::Compacted { .. } if was_continued => {
            let mut status = Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            );
            let last = start.unwrap_or_default().trim_end_matches('\u{0}');
            status.continue_token = continue_token::encode(prefix, last, None);
            status
        }
        StoreError::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        StoreError::Refused { message, .. } if message.contains("future revision") => {
            // Nobody waits for it: there is no time to come back at.
            Status::too_large_resource_version(revision, current).with_retry_after(0)
        }
        other => storage::status(other),
    }
}
