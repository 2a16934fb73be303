//! What a library says of itself in its bytes, read while none of its code has run: not even its constructors.

use altmount_abi::{ABI_MAJOR, Header, MAGIC, PluginV1, SYMBOL_PREFIX};
use goblin::elf::{
    Elf,
    header::{EM_AARCH64, EM_X86_64, ET_DYN},
    program_header::PT_LOAD,
};
use std::panic::catch_unwind;

/// The machine that this server runs on, where the format has a number for it here.
const MACHINE: Option<(u16, &str)> = if cfg!(target_arch = "x86_64") {
    Some((EM_X86_64, "x86-64"))
} else if cfg!(target_arch = "aarch64") {
    Some((EM_AARCH64, "aarch64"))
} else {
    None
};

/// The name of the one exported table, whose header is one that this server can use.
pub(crate) fn exported(bytes: &[u8]) -> Result<String, String> {
    // The parser is not ours, and the bytes are anybody's.
    catch_unwind(|| read(bytes)).unwrap_or_else(|_| Err("its ELF structure is damaged".to_owned()))
}

fn read(bytes: &[u8]) -> Result<String, String> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err("it is no ELF shared library".to_owned());
    }
    let elf = Elf::parse(bytes).map_err(|e| format!("its ELF structure is damaged: {e}"))?;
    if elf.header.e_type != ET_DYN {
        return Err("it is no shared library; build it as a cdylib".to_owned());
    }
    let width = if elf.is_64 { 64 } else { 32 };
    if width != usize::BITS || elf.little_endian != cfg!(target_endian = "little") {
        return Err(format!("it is built for another machine ({width} bits)"));
    }
    if let Some((machine, name)) = MACHINE
        && elf.header.e_machine != machine
    {
        return Err(format!(
            "it is built for another machine (ELF machine {}); this server needs {name}",
            elf.header.e_machine
        ));
    }
    let mut tables = elf.dynsyms.iter().filter_map(|symbol| {
        let name = elf.dynstrtab.get_at(symbol.st_name)?;
        (symbol.st_shndx != 0 && name.starts_with(SYMBOL_PREFIX)).then_some((name, symbol.st_value))
    });
    let Some((name, address)) = tables.next() else {
        return Err(format!(
            "it exports no '{SYMBOL_PREFIX}<name>': it is no importer, or was built without export_importer!"
        ));
    };
    if let Some((other, _)) = tables.next() {
        return Err(format!(
            "it exports '{name}' and '{other}': a library has one importer"
        ));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("'{}' is no name of a table", name.escape_default()));
    }
    let header = elf
        .program_headers
        .iter()
        .find(|load| {
            load.p_type == PT_LOAD && address >= load.p_vaddr && address - load.p_vaddr < load.p_filesz
        })
        .and_then(|load| load.p_offset.checked_add(address - load.p_vaddr))
        .and_then(|at| usize::try_from(at).ok())
        .and_then(|at| bytes.get(at..)?.first_chunk::<{ Header::SIZE }>())
        .ok_or_else(|| format!("the table '{name}' is not in the file"))?;
    check(&Header::parse(header))?;
    Ok(name.to_owned())
}

/// Whether a table of this header is one that this server can use.
pub(crate) fn check(header: &Header) -> Result<(), String> {
    if header.magic != MAGIC {
        return Err("its table does not start with the importers' magic bytes".to_owned());
    }
    if header.abi_major != ABI_MAJOR {
        return Err(format!(
            "it speaks version {} of the plugin ABI, this server speaks {ABI_MAJOR}; build it with this server's SDK",
            header.abi_major
        ));
    }
    let needed = size_of::<PluginV1>() as u64;
    if header.struct_size < needed {
        return Err(format!(
            "its table has {} bytes, version {ABI_MAJOR} has {needed}",
            header.struct_size
        ));
    }
    Ok(())
}
