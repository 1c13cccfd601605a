//! `Accept` to one of the media types that we write; the first acceptable clause by q wins.

use api_machinery::table::IncludeObject;
use api_machinery::{ResourceInfo, Status};
use http::HeaderMap;

use crate::request::Query;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

impl Media {
    /// The Content-Type of one document.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// What is made of objects before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    None,
    Table(IncludeObject),
    Partial,
}

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) media: Media,
    pub(crate) transform: Transform,
    /// The transformed object is told as `meta.k8s.io/v1beta1` has it.
    pub(crate) is_beta: bool,
    pub(crate) pretty: bool,
    /// What errors are written in: nothing is made of them.
    pub(crate) error_media: Media,
    /// Whether the metadata of a list was asked for, or of one object; both is fine for a watch.
    pub(crate) partial_of_list: bool,
}

impl Accepted {
    /// Plain JSON, for errors before negotiation.
    pub(crate) const JSON: Self = Self {
        media: Media::Json,
        transform: Transform::None,
        is_beta: false,
        pretty: false,
        error_media: Media::Json,
        partial_of_list: false,
    };

    /// The same for an error.
    pub(crate) fn of_error(&self) -> Self {
        Self { media: self.error_media, pretty: self.pretty, ..Self::JSON }
    }

    /// 406 when the metadata of a list was asked for and this is none, or the other way round.
    pub(crate) fn check_partial(&self, info: &ResourceInfo, is_list: bool) -> Result<(), Status> {
        if self.transform != Transform::Partial || self.partial_of_list == is_list {
            return Ok(());
        }
        let type_name = internal_name(info);
        Err(Status::not_acceptable_message(match is_list {
            true => format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{type_name}List)"
            ),
            false => format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{type_name})"
            ),
        }))
    }

    /// Whether lists and tables are written from the bytes of their items while they are sent.
    pub(crate) fn is_written_as_sent(&self) -> bool {
        self.media == Media::Json && !self.pretty && !self.is_beta
    }

    /// Whether lists are written from the messages of their items, which are kept.
    pub(crate) fn is_made_of_messages(&self) -> bool {
        self.media == Media::Protobuf && self.transform == Transform::None
    }
}

/// The name of the type that upstream has for a kind inside.
fn internal_name(info: &ResourceInfo) -> String {
    let package = match info.group {
        _ if info.is_custom() => return "unstructured.Unstructured".to_owned(),
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("{package}.{}", info.kind)
}

/// What can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// One document.
    Document,
    /// One document, of which nothing else can be made.
    Plain,
    /// A stream of frames.
    Watch,
}

/// One clause of an `Accept` header.
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: f32,
}

fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = headers
        .get_all(http::header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|clause| !clause.trim().is_empty())
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let weight = parameters
                .iter()
                .find(|(key, _)| *key == "q")
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(1.0);
            Clause { media, parameters, weight }
        })
        .collect();
    clauses.sort_by(|one, other| other.weight.total_cmp(&one.weight));
    clauses
}

/// The media types that a client accepts, best first.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<&str> {
    clauses(headers).into_iter().map(|clause| clause.media).collect()
}

impl Clause<'_> {
    fn parameter(&self, key: &str) -> &str {
        self.parameters.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| *value)
    }

    fn media(&self) -> Option<Media> {
        match self.media {
            "application/json" | "*/*" | "application/*" => Some(Media::Json),
            "application/yaml" => Some(Media::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Media::Protobuf),
            _ => None,
        }
    }

    /// Whether nothing else is to be made of what is there.
    fn is_as_it_is(&self) -> bool {
        let asks = |(key, _): &(&str, &str)| matches!(*key, "as" | "g" | "v");
        !self.parameters.iter().any(asks)
    }

    fn is_beta(&self) -> bool {
        self.parameter("v") == "v1beta1"
    }

    fn transform(&self, media: Media, include: IncludeObject) -> Option<Transform> {
        let is_version = self.parameter("v") == "v1" || self.is_beta() && media != Media::Protobuf;
        let of_meta = self.parameter("g") == "meta.k8s.io" && is_version;
        match self.parameter("as") {
            "" => self.is_as_it_is().then_some(Transform::None),
            // Cells are of any type: a Table has no protobuf form.
            "Table" if of_meta && media != Media::Protobuf => Some(Transform::Table(include)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" if of_meta => {
                Some(Transform::Partial)
            }
            _ => None,
        }
    }
}

const DOCUMENTS: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// Chooses what to write; 406 when the client accepts nothing of it.
pub(crate) fn negotiate(
    headers: &HeaderMap,
    query: &Query,
    offer: Offer,
) -> Result<Accepted, Status> {
    negotiate_kind(headers, query, offer, false)
}

/// The same for a kind, which may be a custom one.
pub(crate) fn negotiate_kind(
    headers: &HeaderMap,
    query: &Query,
    offer: Offer,
    is_custom: bool,
) -> Result<Accepted, Status> {
    let asked = query.get("includeObject").unwrap_or_default();
    let include = IncludeObject::parse(asked);
    let pretty = pretty(headers, query);
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Ok(Accepted { pretty, ..Accepted::JSON });
    }
    let mut of_errors = clauses.iter().filter(|clause| clause.is_as_it_is());
    let error_media = of_errors.find_map(Clause::media).unwrap_or(Media::Json);
    for clause in &clauses {
        let Some(media) = clause.media() else { continue };
        if !matches!(clause.parameter("stream"), "" | "watch") {
            continue;
        }
        if let Some(transform) = clause.transform(media, include.unwrap_or_default()) {
            if matches!(transform, Transform::Table(_)) && include.is_none() {
                return Err(Status::bad_request(format!(
                    "Unable to convert to Table as requested: includeObject: Invalid value: {asked:?}: must be 'Metadata', 'Object', 'None', or empty"
                )));
            }
            if offer == Offer::Plain && transform != Transform::None {
                continue;
            }
            if offer == Offer::Watch && media == Media::Yaml {
                return Err(Status::not_acceptable(&STREAMS));
            }
            // Objects of custom kinds have no messages; their metadata has.
            if is_custom && media == Media::Protobuf && transform == Transform::None {
                continue;
            }
            let is_beta = transform != Transform::None && clause.is_beta();
            let partial_of_list = clause.parameter("as") == "PartialObjectMetadataList";
            return Ok(Accepted {
                media,
                transform,
                is_beta,
                pretty,
                error_media,
                partial_of_list,
            });
        }
    }
    Err(Status::not_acceptable(&DOCUMENTS))
}

/// Whether the client would rather have aggregated discovery (v2) than the legacy documents.
pub(crate) fn accepts_aggregated(headers: &HeaderMap) -> bool {
    for clause in clauses(headers) {
        if clause.media() != Some(Media::Json) {
            continue;
        }
        if clause.parameter("as") == "APIGroupDiscoveryList" {
            if clause.parameter("g") == "apidiscovery.k8s.io" && clause.parameter("v") == "v2" {
                return true;
            }
            continue;
        }
        return false;
    }
    false
}

fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(asked) = query.get("pretty") {
        return !matches!(asked, "0" | "false");
    }
    let agent = headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|person| agent.is_some_and(|agent| agent.starts_with(person)))
}

#[cfg(test)]
mod tests {
    use api_machinery::kinds;

    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, accept.parse().unwrap());
        headers
    }

    fn chosen(accept: &str, offer: Offer) -> Result<(Media, Transform), u16> {
        negotiate(&headers(accept), &Query::default(), offer)
            .map(|accepted| (accepted.media, accepted.transform))
            .map_err(|status| status.code)
    }

    #[test]
    fn kubectl_and_client_go_get_what_they_ask_for() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let document = Offer::Document;
        assert_eq!(
            chosen(table, document),
            Ok((Media::Json, Transform::Table(IncludeObject::Metadata)))
        );
        let protobuf = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(chosen(protobuf, document), Ok((Media::Protobuf, Transform::None)));
        assert_eq!(chosen("*/*", document), Ok((Media::Json, Transform::None)));
        let by_weight = "application/yaml;q=0.5,application/json;q=0.9";
        assert_eq!(chosen(by_weight, document), Ok((Media::Json, Transform::None)));
        assert_eq!(chosen("text/html", document), Err(406));
        assert_eq!(chosen("application/yaml", Offer::Watch), Err(406));
    }

    #[test]
    fn what_cannot_be_made_is_refused_in_upstreams_words() {
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        for accept in [
            "application/json;profile=x;v=1",
            "application/json;stream=x",
            "application/json;as=Table",
            "application/json;as=Table;g=meta.k8s.io;v=v2",
        ] {
            assert_eq!(chosen(accept, Offer::Document), Err(406), "{accept}");
        }
        assert_eq!(chosen(partial, Offer::Plain), Err(406));
        let asked = negotiate(&headers(partial), &Query::default(), Offer::Document).unwrap();
        let of = |group, plural| kinds::find(group, "v1", plural).unwrap();
        assert_eq!(
            asked.check_partial(of("", "configmaps"), false).unwrap_err().message,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)"
        );
        assert!(asked.check_partial(of("", "configmaps"), true).is_ok());
        let one = Accepted { partial_of_list: false, ..asked };
        assert_eq!(
            one.check_partial(of("rbac.authorization.k8s.io", "roles"), true).unwrap_err().message,
            "you requested PartialObjectMetadata, but the requested object is a list (*rbac.RoleList)"
        );
        let yaml = "application/yaml;as=Table;g=meta.k8s.io;v=v1";
        let asked = negotiate(&headers(yaml), &Query::default(), Offer::Document).unwrap();
        assert_eq!((asked.media, asked.of_error().media), (Media::Yaml, Media::Json));
    }

    #[test]
    fn aggregated_discovery_is_tolerant_of_unknown_parameters() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json";
        assert!(accepts_aggregated(&headers(v2)));
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert!(!accepts_aggregated(&headers(beta)));
        assert!(!accepts_aggregated(&headers("application/json")));
    }
}
