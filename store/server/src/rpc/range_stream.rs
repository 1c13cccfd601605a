//! RangeStream: a range in pieces of about the size of the largest request, all of one revision.

use proto::etcdserverpb::{
    RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader,
    range_request::{SortOrder, SortTarget},
};
use store_state_machine::{ReadError, View};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Services;
use crate::{auth::Pass, error::read_failed, exec, limits};

/// The answer's pieces.
pub(super) type Pieces = ReceiverStream<Result<RangeStreamResponse, Status>>;

/// Refuses what cannot be told piece by piece.
pub(crate) fn check(request: &RangeRequest) -> Result<(), Status> {
    let by_key = request.sort_target == i32::from(SortTarget::Key);
    let as_it_is = request.sort_order == i32::from(SortOrder::None)
        || (request.sort_order == i32::from(SortOrder::Ascend) && by_key);
    if !as_it_is {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if filters.iter().any(|revision| *revision != 0) {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

/// All pieces at once.
pub(crate) fn pieces(
    view: View,
    request: RangeRequest,
    target: usize,
) -> Result<Vec<RangeResponse>, ReadError> {
    let mut source = Source::new(view, request, target);
    std::iter::from_fn(|| source.next().transpose()).collect()
}

/// Sends the pieces as fast as the client takes them.
pub(super) fn stream(services: &Services, request: RangeRequest, pass: Pass) -> Pieces {
    let (send, pieces) = exec::queue(limits::RANGE_STREAM_QUEUE);
    let state = services.state.clone();
    let view = state.view();
    let headers = services.headers.clone();
    let target = services.config.max_request_bytes;
    exec::blocking(move || {
        let mut source = Source::new(view, request, target);
        loop {
            let mut piece = match source.next() {
                Ok(Some(piece)) => piece,
                Ok(None) => return,
                Err(error) => {
                    drop(exec::send(&send, Err(read_failed(error))));
                    return;
                }
            };
            if let Some(header) = &mut piece.header {
                *header = headers.at(header.revision);
            }
            if source.done
                && let Err(error) = pass.still_good(&state)
            {
                drop(exec::send(&send, Err(error.into())));
                return;
            }
            let message = RangeStreamResponse { range_response: Some(piece) };
            if exec::send(&send, Ok(message)).is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(pieces)
}

/// Reads one piece after the other.
struct Source {
    view: View,
    request: RangeRequest,
    /// Key-values still wanted.
    left: Option<i64>,
    /// Key-values of the next piece.
    piece: i64,
    target_bytes: usize,
    sent: i64,
    /// The store's revision when the first piece was read.
    revision: Option<i64>,
    done: bool,
}

/// Each piece is about as large as `target`: far from it, the next has twice or half as many keys.
fn next_piece(last: i64, bytes: usize, target: usize) -> i64 {
    let next = if bytes < target / 2 {
        last.saturating_mul(2)
    } else if bytes > target.saturating_mul(2) {
        last / 2
    } else {
        last
    };
    next.max(1)
}

impl Source {
    fn new(view: View, request: RangeRequest, target_bytes: usize) -> Self {
        let left = (request.limit > 0).then_some(request.limit);
        let piece = limits::RANGE_STREAM_FIRST_PIECE;
        Self { view, request, left, piece, target_bytes, sent: 0, revision: None, done: false }
    }

    fn next(&mut self) -> Result<Option<RangeResponse>, ReadError> {
        if self.done {
            return Ok(None);
        }
        if self.request.count_only {
            self.done = true;
            return self.view.range(&self.request).map(Some);
        }
        self.request.limit = self.left.map_or(self.piece, |left| left.min(self.piece));
        let answer = self.view.range(&self.request)?;
        let now = answer.header.as_ref().map_or(0, |header| header.revision);
        let revision = *self.revision.get_or_insert(now);
        if self.request.revision <= 0 {
            self.request.revision = revision;
        }
        let count = i64::try_from(answer.kvs.len()).unwrap_or(i64::MAX);
        self.left = self.left.map(|left| left - count);
        let bytes = prost::Message::encoded_len(&answer);
        let mut piece = RangeResponse { kvs: answer.kvs, ..RangeResponse::default() };
        if !answer.more || self.left == Some(0) {
            self.done = true;
            piece.header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
            piece.more = answer.more;
            // What this range counts begins where the piece does.
            piece.count = self.sent + answer.count;
        }
        self.sent += count;
        if let Some(last) = piece.kvs.last() {
            self.request.key = [last.key.as_ref(), b"\0"].concat().into();
        }
        self.piece = next_piece(self.piece, bytes, self.target_bytes);
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_and_shrink_towards_the_target() {
        assert_eq!(next_piece(10, 100, 1000), 20);
        assert_eq!(next_piece(10, 900, 1000), 10);
        assert_eq!(next_piece(10, 5000, 1000), 5);
        assert_eq!(next_piece(1, 5000, 1000), 1);
    }

    #[test]
    fn what_cannot_come_in_pieces_is_refused_as_etcd_does() {
        let range = RangeRequest { sort_order: 2, ..RangeRequest::default() };
        assert_eq!(check(&range).unwrap_err().code(), tonic::Code::Unimplemented);
        let range = RangeRequest { sort_order: 1, ..RangeRequest::default() };
        assert!(check(&range).is_ok());
        let range = RangeRequest { max_mod_revision: 1, ..RangeRequest::default() };
        let refused = check(&range).unwrap_err();
        assert_eq!(refused.message(), "RangeStream does not support revision filters");
    }
}
