//! CertificateSigningRequest.

use crate::field::Error;
use crate::{Object, ResourceInfo};

pub(super) fn create(_info: &ResourceInfo, _object: &Object, _errors: &mut Vec<Error>) {}

pub(super) fn update(_info: &ResourceInfo, _new: &Object, _old: &Object, _errors: &mut Vec<Error>) {
}

pub(super) fn status_update(
    _info: &ResourceInfo,
    _new: &Object,
    _old: &Object,
    _errors: &mut Vec<Error>,
) {
}

pub(super) fn approval_update(_new: &Object, _old: &Object, _errors: &mut Vec<Error>) {}
