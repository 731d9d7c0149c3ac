package words

// Classes of ASCII characters by the property Word_Break of Unicode Standard Annex 29.
const (
	other     = iota
	letter    // ALetter
	digit     // Numeric
	extend    // ExtendNumLet: the underscore
	midLetter // MidLetter: between letters
	midNumber // MidNum: between digits
	mid       // MidNumLet and Single_Quote: between two of a kind
)

var classes = func() (c [128]uint8) {
	for i := range c {
		switch b := byte(i); {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z':
			c[i] = letter
		case '0' <= b && b <= '9':
			c[i] = digit
		}
	}
	c['_'], c[':'], c[','], c[';'], c['.'], c['\''] = extend, midLetter, midNumber, midNumber, mid, mid
	return c
}()

// lower is the small letter of a capital one, or the byte as it is.
var lower = func() (c [256]byte) {
	for i := range c {
		if c[i] = byte(i); 'A' <= i && i <= 'Z' {
			c[i] += 'a' - 'A'
		}
	}
	return c
}()

// ascii is how many bytes at the front of text are ASCII.
func ascii(text []byte) int {
	for i, b := range text {
		if b >= 0x80 {
			return i
		}
	}
	return len(text)
}

// eachASCII is Each of a text of ASCII alone: the same words at several times the speed.
func eachASCII(text []byte, f func(word []byte)) {
	for i := 0; i < len(text); {
		class := classes[text[i]]
		if class == other || class > extend {
			i++
			continue
		}
		start, named := i, class != extend // not underscores alone
		joined := false                    // by a character between
		for i++; i < len(text); i++ {
			next := classes[text[i]]
			if next == other {
				break
			}
			if next <= extend {
				class = next
				named = named || next != extend
				continue
			}
			// A character between holds two letters together, or two digits.
			if i+1 == len(text) || classes[text[i+1]] != class ||
				class == letter && next == midNumber || class == digit && next == midLetter || class == extend {
				break
			}
			joined = true
		}
		switch {
		case joined:
			f(plain(text[start:i]))
		case named:
			f(text[start:i])
		}
	}
}
