//! What an attacker carries along: a static program, and a function, both in machine code.

/// `write(2, "0\n", 2)`, then `exit(0)`: what is executed says so itself.
#[cfg(target_arch = "x86_64")]
const PROGRAM: [&[u8]; 8] = [
    b"\xb8\x01\0\0\0",         // mov eax, 1
    b"\xbf\x02\0\0\0",         // mov edi, 2
    b"\x48\x8d\x35\x10\0\0\0", // lea rsi, the octets after the last instruction
    b"\xba\x02\0\0\0",         // mov edx, 2
    b"\x0f\x05",               // syscall
    b"\xb8\x3c\0\0\0\x31\xff", // mov eax, 60; xor edi, edi
    b"\x0f\x05",               // syscall
    b"0\n",
];
#[cfg(target_arch = "aarch64")]
const PROGRAM: [&[u8]; 9] = [
    b"\x40\0\x80\xd2",   // mov x0, 2
    b"\xe1\0\0\x10",     // adr x1, the octets after the last instruction
    b"\x42\0\x80\xd2",   // mov x2, 2
    b"\x08\x08\x80\xd2", // mov x8, 64
    b"\x01\0\0\xd4",     // svc 0
    b"\0\0\x80\xd2",     // mov x0, 0
    b"\xa8\x0b\x80\xd2", // mov x8, 93
    b"\x01\0\0\xd4",     // svc 0
    b"0\n",
];

/// A function that returns [`ANSWER`].
#[cfg(target_arch = "x86_64")]
pub const FUNCTION: &[u8] = b"\xb8\x2a\0\0\0\xc3"; // mov eax, 42; ret
#[cfg(target_arch = "aarch64")]
pub const FUNCTION: &[u8] = b"\x40\x05\x80\x52\xc0\x03\x5f\xd6"; // mov w0, 42; ret
pub const ANSWER: u32 = 42;

const ADDRESS: u64 = 0x40_0000;
const HEADERS: u16 = 64 + 56;

/// An ELF file with one segment, for no loader.
pub fn program() -> &'static [u8] {
    let code = PROGRAM.concat();
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let size = u64::from(HEADERS) + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, machine, 1, 0].into_iter().flat_map(u16::to_le_bytes));
    file.extend([ADDRESS + u64::from(HEADERS), 64, 0].into_iter().flat_map(u64::to_le_bytes));
    file.extend([0, 0, 64, 56, 1, 64, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    file.extend([1, 5].into_iter().flat_map(u32::to_le_bytes)); // loaded, to read and execute
    file.extend([0, ADDRESS, ADDRESS, size, size, 0x1_0000].into_iter().flat_map(u64::to_le_bytes));
    file.extend(code);
    file.leak()
}
