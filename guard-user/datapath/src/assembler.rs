//! Programs for hooks that aya does not know, put together here.

use guard_sys::bpf::encode;

// Registers, and the helpers of `enum bpf_func_id` in linux/bpf.h.
pub(super) const R0: u8 = 0;
pub(super) const R1: u8 = 1;
pub(super) const R2: u8 = 2;
pub(super) const R3: u8 = 3;
pub(super) const R6: u8 = 6;
pub(super) const R7: u8 = 7;
pub(super) const R10: u8 = 10;
pub(super) const MAP_LOOKUP_ELEM: i32 = 1;
pub(super) const GET_CURRENT_TASK: i32 = 35;
pub(super) const PROBE_READ_KERNEL: i32 = 113;
pub(super) const PROBE_READ_KERNEL_STR: i32 = 115;
pub(super) const GET_CURRENT_ANCESTOR_CGROUP_ID: i32 = 123;

/// Where jumps lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Unlisted,
    Pathname,
    Known,
    Refuse,
    Allow,
}

/// An instruction, whose offset may not be known yet.
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    value: i32,
}

/// Instructions, as in Documentation/bpf/standardization/instruction-set.rst.
#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, value: i32) {
        self.code.push(Instruction {
            code,
            to,
            from,
            offset,
            value,
        });
    }

    pub(super) fn set(&mut self, to: u8, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    pub(super) fn copy(&mut self, to: u8, from: u8) {
        self.push(0xbf, to, from, 0, 0);
    }

    pub(super) fn add(&mut self, to: u8, value: i32) {
        self.push(0x07, to, 0, 0, value);
    }

    /// Without a sign.
    pub(super) fn shift_right(&mut self, to: u8, bits: i32) {
        self.push(0x77, to, 0, 0, bits);
    }

    pub(super) fn load_u64(&mut self, to: u8, value: u64) {
        self.push(0x18, to, 0, 0, (value as u32).cast_signed());
        self.push(0, 0, 0, 0, ((value >> 32) as u32).cast_signed());
    }

    pub(super) fn store(&mut self, at: i16, from: u8) {
        self.push(0x7b, R10, from, at, 0);
    }

    pub(super) fn fetch(&mut self, to: u8, from: u8, offset: i16) {
        self.push(0x79, to, from, offset, 0);
    }

    pub(super) fn fetch_byte(&mut self, to: u8, from: u8, offset: i16) {
        self.push(0x71, to, from, offset, 0);
    }

    pub(super) fn stack(&mut self, to: u8, at: i16) {
        self.copy(to, R10);
        self.add(to, at.into());
    }

    /// Zeroes the stack, by four bytes.
    pub(super) fn clear(&mut self, from: i16, to: i16) {
        for at in (from..to).step_by(4) {
            self.push(0x62, R10, 0, at, 0);
        }
    }

    pub(super) fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    /// Of a function of the kernel's own, by its type's id.
    pub(super) fn call_kernel(&mut self, function: i32) {
        self.push(0x85, 0, 2, 0, function);
    }

    /// R0: where the value is, or 0.
    pub(super) fn look_up(&mut self, map: i32, key: i16) {
        // `BPF_PSEUDO_MAP_FD`
        self.push(0x18, R1, 1, 0, map);
        self.push(0, 0, 0, 0, 0);
        self.stack(R2, key);
        self.call(MAP_LOOKUP_ELEM);
    }

    /// R1: what is at an address of the kernel's, by way of eight bytes of the stack at `via`.
    pub(super) fn follow(&mut self, from: u8, offset: i32, size: i32, via: i16) {
        self.copy(R3, from);
        self.add(R3, offset);
        self.push(0x7a, R10, 0, via, 0);
        self.stack(R1, via);
        self.set(R2, size);
        self.call(PROBE_READ_KERNEL);
        self.fetch(R1, R10, via);
    }

    fn jump_to(&mut self, code: u8, (left, right): (u8, u8), value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(code, left, right, 0, value);
    }

    pub(super) fn jump(&mut self, label: Label) {
        self.jump_to(0x05, (0, 0), 0, label);
    }

    pub(super) fn jump_if_equal(&mut self, left: u8, value: i32, label: Label) {
        self.jump_to(0x15, (left, 0), value, label);
    }

    pub(super) fn jump_unless_equal(&mut self, left: u8, value: i32, label: Label) {
        self.jump_to(0x55, (left, 0), value, label);
    }

    /// Of the lower 32 bits.
    pub(super) fn jump_if_equal32(&mut self, left: u8, value: i32, label: Label) {
        self.jump_to(0x16, (left, 0), value, label);
    }

    /// Of the lower 32 bits.
    pub(super) fn jump_unless_same32(&mut self, left: u8, right: u8, label: Label) {
        self.jump_to(0x5e, (left, right), 0, label);
    }

    pub(super) fn jump_unless_same(&mut self, left: u8, right: u8, label: Label) {
        self.jump_to(0x5d, (left, right), 0, label);
    }

    pub(super) fn jump_if_bits(&mut self, left: u8, bits: i32, label: Label) {
        self.jump_to(0x45, (left, 0), bits, label);
    }

    /// Where the left is less than the number, both without a sign.
    pub(super) fn jump_if_less(&mut self, left: u8, value: i32, label: Label) {
        self.jump_to(0xa5, (left, 0), value, label);
    }

    pub(super) fn jump_if_same(&mut self, left: u8, right: u8, label: Label) {
        self.jump_to(0x1d, (left, right), 0, label);
    }

    /// Goes on only for tasks in the cgroup of that id, which is at that level.
    pub(super) fn only_within(&mut self, level: u32, id: u64) {
        self.set(R1, level.cast_signed());
        self.call(GET_CURRENT_ANCESTOR_CGROUP_ID);
        self.load_u64(R1, id);
        self.jump_unless_same(R0, R1, Label::Allow);
    }

    /// The end: refuses, and where [`Label::Allow`] leads, allows.
    pub(super) fn verdicts(&mut self) {
        self.here(Label::Refuse);
        self.set(R0, 0);
        self.exit();
        self.here(Label::Allow);
        self.set(R0, 1);
        self.exit();
    }

    pub(super) fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    pub(super) fn here(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    /// With all jumps leading where they should.
    pub(super) fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let found = self.labels.iter().find(|(one, _)| *one == label);
            if let (Some((_, to)), Some(jump)) = (found, self.code.get_mut(at)) {
                jump.offset = (to - at - 1) as i16;
            }
        }
        let encoded = self.code.iter();
        encoded
            .map(|one| encode(one.code, one.to, one.from, one.offset, one.value))
            .collect()
    }
}
