package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"engram/index"
)

// A savedIVF is what a snapshot has of a namespace's index: all that was learned, and the
// list of each row. Codes are made again from the keys.
type savedIVF struct {
	trained     []byte // see index.IVF.AppendTrained
	calibration *index.Calibration
	byKeys      bool
	built, rows int
	lists       []uint32                    // of the namespace's records in the order of their creation
	of          map[*index.Segment][]uint32 // of each segment's first rows, once they are placed
}

// AppendIndex appends what it takes to have the view's index again after a start; nothing
// if it has none. It is
//
//	built uvarint, rows uvarint, by keys uint8,
//	what index.IVF.AppendTrained gives and what index.Calibration.AppendTo gives, each
//	behind its length as a uvarint,
//	of each record in the order of creation the list plus 1, or 0, as a uvarint
//
// where built is the number of records that the index was trained on, rows that it was
// calibrated on, and by keys 1 if that was by stored keys, not by queries.
func (v *View) AppendIndex(b []byte) []byte {
	x := v.ivf
	if x == nil || v.settings.Value().recall == 0 {
		return b
	}
	lists := make([][]uint32, len(v.segments))
	segments := make([]*index.Segment, len(v.segments))
	of := make(map[*index.Segment][]uint32, len(v.segments))
	for i := range v.segments {
		s := &v.segments[i]
		segments[i], lists[i] = s.vectors, make([]uint32, s.n)
		of[s.vectors] = lists[i]
	}
	x.ListsOf(segments, lists)

	b = binary.AppendUvarint(b, uint64(x.built))
	b = binary.AppendUvarint(b, uint64(x.rows))
	b = append(b, 0)
	if x.byKeys {
		b[len(b)-1] = 1
	}
	for _, part := range [][]byte{x.AppendTrained(nil), x.calibration.AppendTo(nil)} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = slices.Grow(b, 2*v.count)
	v.byCreation(func(s *segView, row uint32) bool {
		b = binary.AppendUvarint(b, uint64(of[s.vectors][row]+1)) // NoList gives 0
		return true
	})
	return b
}

var errSavedIVF = errors.New("no index of this namespace")

// readSavedIVF reads what AppendIndex wrote of a namespace of so many records. What was
// learned is checked by assemble.
func readSavedIVF(b []byte, records int) (*savedIVF, error) {
	bad := false
	number := func(most uint64) int {
		x, n := binary.Uvarint(b)
		if n <= 0 || x > most {
			bad = true
			return 0
		}
		b = b[n:]
		return int(x)
	}
	bytes := func() []byte {
		n := number(uint64(len(b)))
		if n > len(b) {
			bad, n = true, 0
		}
		part := b[:n]
		b = b[n:]
		return part
	}
	x := &savedIVF{built: number(math.MaxInt32), rows: number(math.MaxInt32), byKeys: number(1) == 1}
	x.trained = slices.Clone(bytes())
	calibration := bytes()
	if bad || len(b) < records {
		return nil, fmt.Errorf("%w: cut short", errSavedIVF)
	}
	var err error
	if x.calibration, err = index.ReadCalibration(calibration); err != nil {
		return nil, fmt.Errorf("%w: %w", errSavedIVF, err)
	}
	x.lists = make([]uint32, records)
	for i := range x.lists {
		x.lists[i] = uint32(number(index.MaxLists)) - 1
	}
	if bad || len(b) > 0 {
		return nil, fmt.Errorf("%w: lists that aren't those of %d records", errSavedIVF, records)
	}
	return x, nil
}

// placed says where the records lie whose lists are known: in the segments of a draft,
// one after the other.
func (x *savedIVF) placed(d *draft) {
	x.of = make(map[*index.Segment][]uint32, len(d.segments))
	left := x.lists
	for i := range d.segments {
		s := &d.segments[i]
		x.of[s.vectors], left = left[:s.n], left[s.n:]
	}
}

// assemble makes the index of a view's parts. Rows that came since, or lie elsewhere by
// now, go to the lists they are nearest to.
func (x *savedIVF) assemble(m *maintenance, v *View, parts []index.Part) (*ivf, error) {
	lists := make([][]uint32, len(parts))
	for i := range parts {
		lists[i] = x.of[parts[i].Segment]
	}
	made, err := index.AssembleIVF(m.ctx, m.db.pool, v.settings.Value().shape(), parts, x.trained, func(part int, row uint32) uint32 {
		if int(row) < len(lists[part]) {
			return lists[part][row]
		}
		return index.NoList
	}, m.db.backgroundWorkers())
	if err != nil {
		return nil, err
	}
	m.db.log.Info("an index is there again", "namespace", v.ns.name, "rows", made.Rows(), "lists", made.Lists(), "bytes", made.Bytes())
	y := newIVF(made, x.built)
	y.calibration, y.byKeys, y.rows = x.calibration, x.byKeys, x.rows
	return y, nil
}
