package words

// FunctionWords carry grammar, not subject: articles, pronouns, auxiliaries,
// prepositions, question words, and what is left of contractions.
const FunctionWords = `
a an the this that these those i me my mine myself you your yours yourself
yourselves he him his himself she her hers herself it its itself we us our
ours ourselves they them their theirs themselves who whom whose which what
when where why how am is are was were be been being do does did doing done
have has had having will would shall should can could may might must ought
ca wo and or but nor so if then than because as until while though although
since whether unless of at by for with about against between into through
during before after above below to from up down in out on off over under
again onto upon within without toward towards across along around behind
beside besides beyond among amid near per via not no yes any all both each
few more most other some such only own same too very just also even ever
never here there now once still yet else m re ve ll d s don didn doesn isn
aren wasn weren hasn haven hadn won wouldn couldn shouldn let etc one two oh
ok okay hi hey hello yeah yep yup nope wow ah um uh hmm huh well please
thanks thank lol haha`
