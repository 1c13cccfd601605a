//! Reviews: answered and not kept.

use super::NAMESPACED;
use crate::kinds::ResourceInfo;

const AUTHENTICATION: ResourceInfo =
    ResourceInfo { group: "authentication.k8s.io", verbs: &["create"], ..NAMESPACED };

const AUTHORIZATION: ResourceInfo =
    ResourceInfo { group: "authorization.k8s.io", verbs: &["create"], ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 6] = [
    ResourceInfo {
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        namespaced: false,
        type_name: "api.authentication.v1.SelfSubjectReview",
        ..AUTHENTICATION
    },
    ResourceInfo {
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        namespaced: false,
        type_name: "api.authentication.v1.TokenReview",
        ..AUTHENTICATION
    },
    ResourceInfo {
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        namespaced: true,
        type_name: "api.authorization.v1.LocalSubjectAccessReview",
        ..AUTHORIZATION
    },
    ResourceInfo {
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        namespaced: false,
        type_name: "api.authorization.v1.SelfSubjectAccessReview",
        ..AUTHORIZATION
    },
    ResourceInfo {
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        namespaced: false,
        type_name: "api.authorization.v1.SelfSubjectRulesReview",
        ..AUTHORIZATION
    },
    ResourceInfo {
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        namespaced: false,
        type_name: "api.authorization.v1.SubjectAccessReview",
        ..AUTHORIZATION
    },
];
