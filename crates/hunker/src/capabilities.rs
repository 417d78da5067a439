//! capabilities(7): drops all.

use caps::CapSet;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

use crate::LayerError;

/// Empties every capability set. Emptying the bounding set requires `CAP_SETPCAP`; without it, `no_new_privs` makes the bounding set
/// meaningless.
///
/// The ambient set needs no call: it holds only capabilities that are both permitted and inheritable.
pub(crate) fn drop_all() -> Result<(), LayerError> {
    let held = capabilities(None)?;
    // The bounding set first: emptying it requires a capability that the next step drops.
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

/// Without `caps::clear`, which doubles the calls: it queries each capability before it drops it.
fn empty_bounding_set() -> Result<(), LayerError> {
    let known = caps::all();
    for &capability in &known {
        caps::drop(None, CapSet::Bounding, capability)?;
    }
    // Capabilities of newer kernels, up to the first number that the kernel refuses.
    for number in known.len()..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
