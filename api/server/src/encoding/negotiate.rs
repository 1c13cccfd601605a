//! `Accept` to one of the media types that we write; the first acceptable clause by q wins.

use api_machinery::Status;
use api_machinery::table::IncludeObject;
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
}

impl Accepted {
    /// Plain JSON, for errors before negotiation.
    pub(crate) const JSON: Self =
        Self { media: Media::Json, transform: Transform::None, is_beta: false, pretty: false };

    /// Whether lists and tables are written from the bytes of their items while they are sent.
    pub(crate) fn is_written_as_sent(&self) -> bool {
        self.media == Media::Json && !self.pretty && !self.is_beta
    }

    /// Whether lists are written from the messages of their items, which are kept.
    pub(crate) fn is_made_of_messages(&self) -> bool {
        self.media == Media::Protobuf && self.transform == Transform::None
    }
}

/// What can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// One document.
    Document,
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

    fn is_beta(&self) -> bool {
        self.parameter("v") == "v1beta1"
    }

    fn transform(&self, media: Media, include: IncludeObject) -> Option<Transform> {
        let is_version = self.parameter("v") == "v1" || self.is_beta() && media != Media::Protobuf;
        let of_meta = self.parameter("g") == "meta.k8s.io" && is_version;
        match self.parameter("as") {
            "" => Some(Transform::None),
            // Cells are of any type: a Table has no protobuf form.
            "Table" if of_meta && media != Media::Protobuf => Some(Transform::Table(include)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" if of_meta => {
                Some(Transform::Partial)
            }
            _ => None,
        }
    }
}

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
    let include = query.get("includeObject").unwrap_or_default();
    let include = IncludeObject::parse(include).ok_or_else(|| {
        Status::bad_request(format!("unrecognized includeObject value: {include:?}"))
    })?;
    let pretty = pretty(headers, query);
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Ok(Accepted { pretty, ..Accepted::JSON });
    }
    for clause in &clauses {
        let Some(media) = clause.media() else { continue };
        if offer == Offer::Watch && media == Media::Yaml {
            continue;
        }
        if let Some(transform) = clause.transform(media, include) {
            // Objects of custom kinds have no messages; their metadata has.
            if is_custom && media == Media::Protobuf && transform == Transform::None {
                continue;
            }
            let is_beta = transform != Transform::None && clause.is_beta();
            return Ok(Accepted { media, transform, is_beta, pretty });
        }
    }
    Err(Status::not_acceptable(match offer {
        Offer::Document => {
            &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
        }
        Offer::Watch => {
            &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]
        }
    }))
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
    fn aggregated_discovery_is_tolerant_of_unknown_parameters() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json";
        assert!(accepts_aggregated(&headers(v2)));
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert!(!accepts_aggregated(&headers(beta)));
        assert!(!accepts_aggregated(&headers("application/json")));
    }
}
