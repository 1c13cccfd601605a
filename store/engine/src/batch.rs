//! Changes that are written together.

use rocksdb::WriteBatch;

#[cfg(feature = "sim")]
use crate::sim;
use crate::{Family, FamilyOf, MIXED, memory};

/// Changes that are written together, in this order.
pub struct Batch(pub(crate) BatchOf);

pub(crate) enum BatchOf {
    Rocks(WriteBatch),
    Memory(memory::Batch),
    #[cfg(feature = "sim")]
    Sim(sim::Batch),
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, family: Family<'_>, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        match (&mut self.0, family.0) {
            (BatchOf::Rocks(batch), FamilyOf::Rocks(family)) => batch.put_cf(family, key, value),
            (BatchOf::Memory(batch), FamilyOf::Memory(family)) => {
                batch.put(family, key.as_ref(), value.as_ref());
            }
            #[cfg(feature = "sim")]
            (BatchOf::Sim(batch), FamilyOf::Sim(family)) => {
                batch.put(family, key.as_ref(), value.as_ref());
            }
            _ => unreachable!("{MIXED}"),
        }
    }

    /// Removes a key.
    pub fn delete(&mut self, family: Family<'_>, key: impl AsRef<[u8]>) {
        match (&mut self.0, family.0) {
            (BatchOf::Rocks(batch), FamilyOf::Rocks(family)) => batch.delete_cf(family, key),
            (BatchOf::Memory(batch), FamilyOf::Memory(family)) => {
                batch.delete(family, key.as_ref());
            }
            #[cfg(feature = "sim")]
            (BatchOf::Sim(batch), FamilyOf::Sim(family)) => batch.delete(family, key.as_ref()),
            _ => unreachable!("{MIXED}"),
        }
    }

    /// Removes all keys from `from` on, below `to`.
    pub fn delete_range(
        &mut self,
        family: Family<'_>,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
    ) {
        match (&mut self.0, family.0) {
            (BatchOf::Rocks(batch), FamilyOf::Rocks(family)) => {
                batch.delete_range_cf(family, from.as_ref(), to.as_ref());
            }
            (BatchOf::Memory(batch), FamilyOf::Memory(family)) => {
                batch.delete_range(family, from.as_ref(), to.as_ref());
            }
            #[cfg(feature = "sim")]
            (BatchOf::Sim(batch), FamilyOf::Sim(family)) => {
                batch.delete_range(family, from.as_ref(), to.as_ref());
            }
            _ => unreachable!("{MIXED}"),
        }
    }

    /// The changes as bytes, behind a header: the same of each engine.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match &self.0 {
            BatchOf::Rocks(batch) => batch.data(),
            BatchOf::Memory(batch) => batch.data(),
            #[cfg(feature = "sim")]
            BatchOf::Sim(batch) => batch.data(),
        }
    }

    /// The length of [`Self::data`].
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        match &self.0 {
            BatchOf::Rocks(batch) => batch.size_in_bytes(),
            BatchOf::Memory(batch) => batch.data().len(),
            #[cfg(feature = "sim")]
            BatchOf::Sim(batch) => batch.data().len(),
        }
    }
}
