//! Landlock's rights by name, and those that a lock-down asks for.

use std::fmt;

use landlock::{ABI, Access, AccessFs, AccessNet, BitFlags, Scope};

use crate::Policy;

/// The newest version whose rights are asked for.
const NEWEST: ABI = ABI::V10;
/// The minimum version for [`Mode::Strict`](crate::Mode::Strict): a policy cannot tell one path from another. What later versions
/// forbid, a policy without a call for it forbids as well.
const FLOOR: ABI = ABI::V1;
/// The first kernel with each version.
const KERNELS: [&str; 10] = ["5.13", "5.19", "6.2", "6.7", "6.10", "6.12", "6.15", "7.0", "7.1", "7.2"];

/// Rights that Landlock can forbid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// On files.
    pub files: BitFlags<AccessFs>,
    /// On the network.
    pub network: BitFlags<AccessNet>,
    /// To reach processes outside the Landlock domain.
    pub scopes: BitFlags<Scope>,
}

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The kernel's name in lower case, without `LANDLOCK_ACCESS_`: `fs_truncate`, `net_bind_tcp`, `scope_signal`.
    pub name: &'static str,
    /// The action that it permits: "truncating files".
    pub action: &'static str,
    /// The first version of Landlock that knows it.
    pub abi: u32,
}

impl Rights {
    /// All rights that this crate knows.
    #[must_use]
    pub fn all() -> Self {
        Self::of(NEWEST)
    }

    /// The rights that [`Mode::Strict`](crate::Mode::Strict) requires for every policy: those on files of the first version.
    #[must_use]
    pub fn floor() -> Self {
        Self::of(FLOOR)
    }

    /// The rights that a lock-down with this policy asks Landlock to forbid.
    pub(crate) fn asked_with(policy: &Policy) -> Self {
        let mut asked = Self::all();
        // Landlock's rules name single ports, and clients use any port.
        if policy.sends_datagrams() {
            asked.network &= !AccessNet::ConnectSendUdp;
        }
        asked
    }

    /// The rights that a version can forbid.
    pub(crate) fn known_by(abi: u32) -> Self {
        let known = Self::of(ABI::from(i32::try_from(abi).unwrap_or(i32::MAX)));
        // The first version cannot allow moving files, so it always forbids it.
        let refer = if abi > 0 { AccessFs::Refer.into() } else { BitFlags::EMPTY };
        Self { files: known.files | refer, ..known }
    }

    fn of(abi: ABI) -> Self {
        Self { files: AccessFs::from_all(abi), network: AccessNet::from_all(abi), scopes: Scope::from_all(abi) }
    }

    /// These rights without `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self {
            files: self.files & !others.files,
            network: self.network & !others.network,
            scopes: self.scopes & !others.scopes,
        }
    }

    /// The rights in both sets.
    #[must_use]
    pub fn intersection(self, others: Self) -> Self {
        self.without(self.without(others))
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each right.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        let files = self.files.iter().map(|it| (of_files(it), Self { files: it.into(), ..Self::default() }));
        let network = self.network.iter().map(|it| (of_network(it), Self { network: it.into(), ..Self::default() }));
        let scopes = self.scopes.iter().map(|it| (of_scopes(it), Self { scopes: it.into(), ..Self::default() }));
        files.chain(network).chain(scopes).map(|((name, action), right)| Right { name, action, abi: right.abi() })
    }

    /// The first version that knows all of these.
    fn abi(self) -> u32 {
        (0..10).find(|&abi| self.without(Self::of(ABI::from(abi))).is_empty()).map_or(10, i32::unsigned_abs)
    }

    /// The first kernel whose Landlock knows all of these.
    #[must_use]
    pub fn kernel(self) -> &'static str {
        kernel_of(self.abi())
    }
}

/// The actions that they permit: "truncating files, binding TCP ports or signals to other processes".
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<_> = self.iter().map(|right| right.action).collect();
        match actions.as_slice() {
            [] => Ok(()),
            [action] => f.write_str(action),
            [actions @ .., last] => write!(f, "{} or {last}", actions.join(", ")),
        }
    }
}

/// The first kernel with a version of Landlock, or with the newest version that this crate knows.
#[must_use]
pub fn kernel_of(abi: u32) -> &'static str {
    let index = usize::try_from(abi).map_or(0, |abi| abi.saturating_sub(1));
    KERNELS[index.min(KERNELS.len() - 1)]
}

/// A right that this crate does not ask for.
const UNKNOWN: (&str, &str) = ("unknown", "what is unknown");

fn of_files(right: AccessFs) -> (&'static str, &'static str) {
    match right {
        AccessFs::Execute => ("fs_execute", "executing files"),
        AccessFs::WriteFile => ("fs_write_file", "writing files"),
        AccessFs::ReadFile => ("fs_read_file", "reading files"),
        AccessFs::ReadDir => ("fs_read_dir", "listing directories"),
        AccessFs::RemoveDir => ("fs_remove_dir", "removing directories"),
        AccessFs::RemoveFile => ("fs_remove_file", "removing files"),
        AccessFs::MakeChar => ("fs_make_char", "making character devices"),
        AccessFs::MakeDir => ("fs_make_dir", "making directories"),
        AccessFs::MakeReg => ("fs_make_reg", "making files"),
        AccessFs::MakeSock => ("fs_make_sock", "making sockets in the file system"),
        AccessFs::MakeFifo => ("fs_make_fifo", "making named pipes"),
        AccessFs::MakeBlock => ("fs_make_block", "making block devices"),
        AccessFs::MakeSym => ("fs_make_sym", "making symbolic links"),
        AccessFs::Refer => ("fs_refer", "moving files between directories"),
        AccessFs::Truncate => ("fs_truncate", "truncating files"),
        AccessFs::IoctlDev => ("fs_ioctl_dev", "ioctl on devices"),
        AccessFs::ResolveUnix => ("fs_resolve_unix", "connections to Unix-domain sockets by path"),
        _ => UNKNOWN,
    }
}

fn of_network(right: AccessNet) -> (&'static str, &'static str) {
    match right {
        AccessNet::BindTcp => ("net_bind_tcp", "binding TCP ports"),
        AccessNet::ConnectTcp => ("net_connect_tcp", "TCP connections"),
        AccessNet::BindUdp => ("net_bind_udp", "binding UDP ports"),
        AccessNet::ConnectSendUdp => ("net_connect_send_udp", "sending UDP datagrams"),
        _ => UNKNOWN,
    }
}

fn of_scopes(right: Scope) -> (&'static str, &'static str) {
    match right {
        Scope::AbstractUnixSocket => ("scope_abstract_unix_socket", "connections to abstract Unix-domain sockets"),
        Scope::Signal => ("scope_signal", "signals to other processes"),
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_right_has_its_own_name() {
        let rights: Vec<_> = Rights::all().iter().collect();
        let (names, actions): (BTreeSet<_>, BTreeSet<_>) = rights.iter().map(|it| (it.name, it.action)).unzip();
        assert_eq!((names.len(), actions.len()), (23, 23));
        assert!(!names.contains(UNKNOWN.0));
    }

    #[test]
    fn a_right_is_known_from_its_version_on() {
        for right in Rights::all().iter() {
            let lacks = |abi| Rights::all().without(Rights::known_by(abi)).iter().any(|it| it == right);
            // The first version forbids moving files, since it cannot allow it.
            let first = if right.name == "fs_refer" { 1 } else { right.abi };
            assert!(lacks(first - 1) && !lacks(first), "{right:?}");
        }
        assert!(Rights::all().without(Rights::known_by(u32::MAX)).is_empty());
        assert!(Rights::floor().without(Rights::known_by(1)).is_empty());
        assert_eq!(Rights::floor().without(Rights::known_by(0)), Rights::floor());
    }

    #[test]
    fn missing_rights_are_described_in_words() {
        let lacking = |abi| Rights::all().without(Rights::known_by(abi));
        assert_eq!(lacking(10).to_string(), "");
        assert_eq!(lacking(9).to_string(), "binding UDP ports or sending UDP datagrams");
        assert_eq!(lacking(8).to_string(), format!("connections to Unix-domain sockets by path, {}", lacking(9)));
        assert_eq!((lacking(9).kernel(), Rights::floor().kernel()), ("7.2", "5.13"));
        let to_the_network = Rights { files: BitFlags::EMPTY, scopes: BitFlags::EMPTY, ..lacking(2) };
        assert_eq!(
            to_the_network.to_string(),
            "binding TCP ports, TCP connections, binding UDP ports or sending UDP datagrams"
        );
    }
}
