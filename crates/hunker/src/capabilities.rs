//! capabilities(7): none left in any set.

use caps::CapSet;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

use crate::LayerError;

/// Empties every capability set; the bounding set only where the process holds `CAP_SETPCAP`, which it takes to do so
/// (elsewhere `no_new_privs` makes it meaningless).
///
/// The ambient set needs no call of its own: it holds nothing that is not both permitted and inheritable.
pub(crate) fn drop_all() -> Result<(), LayerError> {
    let held = capabilities(None)?;
    // First the bounding set: emptying it takes a capability that the next step gives away.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        empty_bounding_set()?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if held != none {
        set_capabilities(None, none)?;
    }
    Ok(())
}

/// Not by `caps::clear`: it asks for each capability before it drops it, which doubles the calls.
fn empty_bounding_set() -> Result<(), LayerError> {
    let known = caps::all();
    for &capability in &known {
        caps::drop(None, CapSet::Bounding, capability)?;
    }
    // Those of a newer kernel, which says which is the last by refusing the next.
    for number in known.len()..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
