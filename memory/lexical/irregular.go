package lexical

import (
	"strings"

	"engram/internal/words"
)

// irregular are English words whose forms have no common stem: the base form first.
// Forms that are as common as words of their own ("ground", "wound") are left out.
const irregular = `
beat beaten; begin began begun; bend bent; bite bit bitten; bleed bled; blow
blew blown; break broke broken; breed bred; bring brought; build built; buy
bought; calf calves; catch caught; child children; choose chose chosen; cling
clung; come came; creep crept; deal dealt; dig dug; draw drew drawn; dream
dreamt; drink drank drunk; drive drove driven; eat ate eaten; fall fell
fallen; feed fed; feel felt; fight fought; find found; flee fled; fly flew
flown; foot feet; forget forgot forgotten; forgive forgave forgiven; freeze
froze frozen; get got gotten; give gave given; go went gone; goose geese; grow
grew grown; half halves; hang hung; hear heard; hide hid hidden; hold held;
keep kept; kneel knelt; knife knives; know knew known; lay laid; lead led;
leap leapt; learn learnt; leave left; lend lent; lie lain; life
lives; light lit; loaf loaves; lose lost; make made; man men; mean meant; meet
met; mouse mice; ox oxen; pay paid; person people; ride rode ridden; ring rang
rung; rise rose risen; run ran; say said; scarf scarves; see saw seen; seek
sought; sell sold; send sent; shake shook shaken; shelf shelves; shine shone;
shoot shot; show shown; shrink shrank shrunk; sing sang sung; sink sank sunk;
sit sat; sleep slept; slide slid; speak spoke spoken; spend spent; spin spun;
spring sprang sprung; stand stood; steal stole stolen; stick stuck; sting
stung; strike struck; swear swore sworn; sweep swept; swim swam swum; swing
swung; take took taken; teach taught; tear tore torn; tell told; thief
thieves; think thought; throw threw thrown; tooth teeth; understand
understood; wake woke woken; wear wore worn; weave wove woven; weep wept; wife
wives; win won; wolf wolves; woman women; write wrote written`

// forms maps an irregular form to its base form, a function word to nil.
var forms, longestForm = func() (m map[string][]byte, longest int) {
	m = make(map[string][]byte, 512)
	for _, forms := range strings.Split(irregular, ";") {
		f := strings.Fields(forms)
		for _, form := range f[1:] {
			m[form] = []byte(f[0])
		}
	}
	for _, w := range strings.Fields(words.FunctionWords) {
		m[w] = nil
	}
	for w := range m {
		longest = max(longest, len(w))
	}
	return m, longest
}()
